"""What a model's raw output becomes: above the threshold, of the wanted classes, at most so many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.errors import ModelError
from inference.heads import HEADS, Head, check_head, load_head
from inference.input import InputSpec
from inference.model import ModelInfo

HALF = 0.5  # exact in float32

Found = list[tuple[float, float, float, float, float, int]]


NAMES = ("person", "car", "dog")
INFO = {name: ModelInfo("toy", "0" * 16, NAMES, name, InputSpec(), 640, "none", "cpu", "fp32") for name in HEADS}


def head(name: str, confidence: float = HALF, class_ids: list[int] | None = None, limit: int = 300) -> Head:
    return load_head(INFO[name], confidence, 0.7, class_ids, limit)


def raw(name: str, found: Found) -> list[NDArray[np.float32]]:
    """The outputs by which a model with this head, seeing 640 x 640 pixels, says what it found."""
    if name == "yolo_end2end":
        return [np.array(found, np.float32).reshape(-1, 6)]
    rows = np.zeros((len(found), 4 + 3), np.float32)
    for row, (x1, y1, x2, y2, score, class_id) in zip(rows, found, strict=True):
        row[:4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        row[4 + class_id] = score
    if name == "yolo":
        return [rows.T]
    if name == "yolox":
        cells = np.zeros((80 * 80 + 40 * 40 + 20 * 20, 5 + 3), np.float32)
        for row in rows:
            column, line = int(row[0] // 8), int(row[1] // 8)
            offset = [row[0] / 8 - column, row[1] / 8 - line]
            size = np.log(np.maximum(row[2:4], 1e-9) / 8)
            cells[line * 80 + column] = [*offset, *size, 1.0, *row[4:]]
        return [cells]
    rows[:, :4] /= 640
    if name == "rfdetr":
        with np.errstate(divide="ignore"):
            return [rows[:, :4], np.log(rows[:, 4:] / (1 - rows[:, 4:]))]
    return [rows]


THREE: Found = [(10, 20, 50, 80, 0.875, 0), (100, 20, 150, 80, 0.75, 1), (200, 20, 250, 80, 0.625, 2)]

every_head = pytest.mark.parametrize("name", sorted(HEADS))


@every_head
def test_boxes_scores_and_classes_are_what_was_found(name: str) -> None:
    rows = head(name).decode(raw(name, THREE), 640, 640)
    assert rows.dtype == np.float32
    assert rows == pytest.approx(np.array(THREE, np.float32), rel=1e-5)


@every_head
def test_a_score_exactly_at_the_threshold_is_not_reported(name: str) -> None:
    above = float(np.nextafter(np.float32(HALF), np.float32(1)))
    found: Found = [(10, 20, 50, 80, above, 0), (100, 20, 150, 80, HALF, 1), (200, 20, 250, 80, 0.25, 2)]
    assert head(name).decode(raw(name, found), 640, 640)[:, 5].tolist() == [0]


@every_head
@pytest.mark.parametrize(("wanted", "reported"), [([1], [1]), ([2, 0], [0, 2]), ([], []), (None, [0, 1, 2])])
def test_only_wanted_classes_are_reported(name: str, wanted: list[int] | None, reported: list[int]) -> None:
    assert head(name, class_ids=wanted).decode(raw(name, THREE), 640, 640)[:, 5].tolist() == reported


@every_head
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_limit_keeps_the_best(name: str, limit: int) -> None:
    rows = head(name, limit=limit).decode(raw(name, THREE), 640, 640)
    assert rows[:, 4].tolist() == pytest.approx([0.875, 0.75, 0.625][:limit])


@every_head
def test_unwanted_classes_do_not_use_up_the_limit(name: str) -> None:
    assert head(name, class_ids=[2], limit=1).decode(raw(name, THREE), 640, 640)[:, 5].tolist() == [2]


@every_head
@pytest.mark.parametrize("found", [[], [(10, 20, 50, 80, 0.25, 0)]], ids=["no candidates", "nothing good enough"])
def test_nothing_found_is_an_empty_table(name: str, found: Found) -> None:
    rows = head(name).decode(raw(name, found), 640, 640)
    assert rows.shape == (0, 6)
    assert rows.dtype == np.float32


def test_yolo_merges_boxes_of_one_object() -> None:
    found: Found = [(10, 20, 50, 80, 0.75, 0), (11, 20, 51, 80, 0.875, 0), (11, 20, 51, 80, 0.625, 1)]
    rows = head("yolo").decode(raw("yolo", found), 640, 640)
    assert rows[:, 4:].tolist() == [[0.875, 0], [0.625, 1]]


def test_yolo_reports_an_anchors_best_class_only() -> None:
    (output,) = raw("yolo", [(10, 20, 50, 80, 0.75, 0)])
    output[5, 0] = 0.875
    assert head("yolo").decode([output], 640, 640)[:, 4:].tolist() == [[0.875, 1]]


def test_an_anchor_whose_best_class_is_unwanted_is_not_reported_as_its_second() -> None:
    (output,) = raw("yolo", [(10, 20, 50, 80, 0.75, 0)])
    output[5, 0] = 0.875
    assert len(head("yolo", class_ids=[0]).decode([output], 640, 640)) == 0


def test_decoding_leaves_the_models_output_alone() -> None:
    for name in HEADS:
        outputs = raw(name, THREE)
        before = [output.copy() for output in outputs]
        head(name).decode(outputs, 640, 640)
        assert all(np.array_equal(output, old) for output, old in zip(outputs, before, strict=True))


@every_head
def test_a_model_whose_output_has_other_classes_than_it_names_is_refused(name: str) -> None:
    chosen, outputs = head(name), raw(name, THREE)
    check_head(chosen, INFO[name], outputs, 640, 640)
    if chosen.classes(outputs, 640, 640) is not None:
        with pytest.raises(ModelError, match="names 2 classes, but its output has 3"):
            check_head(chosen, replace(INFO[name], names=("person", "car")), outputs, 640, 640)


@every_head
def test_an_output_of_another_head_is_refused(name: str) -> None:
    wrong = [np.zeros((4, 3, 2), np.float32)]
    with pytest.raises(ModelError, match=f"toy does not fit the head '{name}'"):
        check_head(head(name), INFO[name], wrong, 640, 640)
