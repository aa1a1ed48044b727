"""What a model's raw output becomes: above the threshold, of the wanted classes, at most so many."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.heads import HEADS, Head, load_head
from inference.input import InputSpec
from inference.model import ModelInfo

HALF = 0.5  # exact in float32

Found = list[tuple[float, float, float, float, float, int]]


def head(name: str, confidence: float = HALF, class_ids: list[int] | None = None, limit: int = 300) -> Head:
    info = ModelInfo("toy", "0" * 16, ("person", "car", "dog"), name, InputSpec(), 640, "none", "cpu", "fp32")
    return load_head(info, confidence, 0.7, class_ids, limit)


def raw(name: str, found: Found) -> NDArray[np.float32]:
    """The output by which a model with this head says what it found."""
    if name == "yolo_end2end":
        return np.array(found, np.float32).reshape(-1, 6)
    output = np.zeros((4 + 3, len(found)), np.float32)
    for column, (x1, y1, x2, y2, score, class_id) in enumerate(found):
        output[:4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        output[4 + class_id, column] = score
    return output


THREE: Found = [(10, 20, 50, 80, 0.875, 0), (100, 20, 150, 80, 0.75, 1), (200, 20, 250, 80, 0.625, 2)]

every_head = pytest.mark.parametrize("name", sorted(HEADS))


@every_head
def test_boxes_scores_and_classes_are_what_was_found(name: str) -> None:
    rows = head(name).decode([raw(name, THREE)], 640, 640)
    assert rows.dtype == np.float32
    assert rows.tolist() == [list(one) for one in THREE]


@every_head
def test_a_score_exactly_at_the_threshold_is_not_reported(name: str) -> None:
    above = float(np.nextafter(np.float32(HALF), np.float32(1)))
    found: Found = [(10, 20, 50, 80, above, 0), (100, 20, 150, 80, HALF, 1), (200, 20, 250, 80, 0.25, 2)]
    assert head(name).decode([raw(name, found)], 640, 640)[:, 5].tolist() == [0]


@every_head
@pytest.mark.parametrize(("wanted", "reported"), [([1], [1]), ([2, 0], [0, 2]), ([], []), (None, [0, 1, 2])])
def test_only_wanted_classes_are_reported(name: str, wanted: list[int] | None, reported: list[int]) -> None:
    assert head(name, class_ids=wanted).decode([raw(name, THREE)], 640, 640)[:, 5].tolist() == reported


@every_head
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_limit_keeps_the_best(name: str, limit: int) -> None:
    rows = head(name, limit=limit).decode([raw(name, THREE)], 640, 640)
    assert rows[:, 4].tolist() == [0.875, 0.75, 0.625][:limit]


@every_head
def test_unwanted_classes_do_not_use_up_the_limit(name: str) -> None:
    assert head(name, class_ids=[2], limit=1).decode([raw(name, THREE)], 640, 640)[:, 5].tolist() == [2]


@every_head
@pytest.mark.parametrize("found", [[], [(10, 20, 50, 80, 0.25, 0)]], ids=["no candidates", "nothing good enough"])
def test_nothing_found_is_an_empty_table(name: str, found: Found) -> None:
    rows = head(name).decode([raw(name, found)], 640, 640)
    assert rows.shape == (0, 6)
    assert rows.dtype == np.float32


def test_yolo_merges_boxes_of_one_object() -> None:
    found: Found = [(10, 20, 50, 80, 0.75, 0), (11, 20, 51, 80, 0.875, 0), (11, 20, 51, 80, 0.625, 1)]
    rows = head("yolo").decode([raw("yolo", found)], 640, 640)
    assert rows[:, 4:].tolist() == [[0.875, 0], [0.625, 1]]


def test_yolo_reports_an_anchors_best_class_only() -> None:
    output = raw("yolo", [(10, 20, 50, 80, 0.75, 0)])
    output[5, 0] = 0.875
    assert head("yolo").decode([output], 640, 640)[:, 4:].tolist() == [[0.875, 1]]


def test_an_anchor_whose_best_class_is_unwanted_is_not_reported_as_its_second() -> None:
    output = raw("yolo", [(10, 20, 50, 80, 0.75, 0)])
    output[5, 0] = 0.875
    assert len(head("yolo", class_ids=[0]).decode([output], 640, 640)) == 0


def test_decoding_leaves_the_models_output_alone() -> None:
    for name in HEADS:
        output = raw(name, THREE)
        before = output.copy()
        head(name).decode([output], 640, 640)
        assert np.array_equal(output, before)
