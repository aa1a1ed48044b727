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
POINTS = 5
INFO = {
    name: ModelInfo("toy", "0" * 16, NAMES, name, InputSpec(), 640, "none", "cpu", "fp32",
                    (POINTS, 3) if name == "pose" else None)
    for name in HEADS
}  # fmt: skip


def head(name: str, confidence: float = HALF, class_ids: list[int] | None = None, limit: int = 300) -> Head:
    return load_head(INFO[name], confidence, 0.7, class_ids, limit)


def raw(name: str, found: Found) -> list[NDArray[np.float32]]:
    """The outputs by which a model with this head, seeing 640 x 640 pixels, says what it found."""
    if name == "yolo_end2end":
        return [np.array(found, np.float32).reshape(-1, 6)]
    if name == "rtdetr_ranked":
        ranked = np.array(found, np.float32).reshape(-1, 6)
        low, high = ranked[:, :2].copy(), ranked[:, 2:4].copy()
        ranked[:, :2], ranked[:, 2:4] = (low + high) / 2 / 640, (high - low) / 640
        return [ranked]
    rows = np.zeros((len(found), 4 + 3), np.float32)
    for row, (x1, y1, x2, y2, score, class_id) in zip(rows, found, strict=True):
        row[:4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        row[4 + class_id] = score
    if name == "yolo":
        return [rows.T]
    if name == "segment":  # every object's shape is the whole of its box
        return [np.hstack([rows, np.ones((len(rows), 2), np.float32)]).T, np.ones((2, 160, 160), np.float32)]
    if name == "pose":  # keypoint k of an object lies k pixels right of and below its centre
        points = rows[:, None, :2] + np.arange(POINTS, dtype=np.float32)[None, :, None]
        sure = np.full((len(rows), POINTS, 1), 0.75, np.float32)
        return [np.hstack([rows, np.concatenate([points, sure], axis=2).reshape(len(rows), POINTS * 3)]).T]
    if name == "obb":
        return [np.hstack([rows, np.zeros((len(rows), 1), np.float32)]).T]
    if name.startswith("yolox"):
        cells = np.zeros((80 * 80 + 40 * 40 + 20 * 20, 5 + 3), np.float32)
        for row in rows:
            column, line = int(row[0] // 8), int(row[1] // 8)
            offset = [row[0] / 8 - column, row[1] / 8 - line]
            size = np.log(np.maximum(row[2:4], 1e-9) / 8)
            cells[line * 80 + column] = [*offset, *size, 1.0, *row[4:]]
        if name == "yolox_raw":
            with np.errstate(divide="ignore"):
                cells[:, 4:] = np.log(cells[:, 4:] / (1 - cells[:, 4:]))
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
    rows = head(name).decode(raw(name, THREE), 640, 640).rows
    assert rows.dtype == np.float32
    assert rows == pytest.approx(np.array(THREE, np.float32), rel=1e-5)


@every_head
def test_a_score_exactly_at_the_threshold_is_not_reported(name: str) -> None:
    above = float(np.nextafter(np.float32(HALF), np.float32(1)))
    found: Found = [(10, 20, 50, 80, above, 0), (100, 20, 150, 80, HALF, 1), (200, 20, 250, 80, 0.25, 2)]
    assert head(name).decode(raw(name, found), 640, 640).rows[:, 5].tolist() == [0]


@every_head
@pytest.mark.parametrize(("wanted", "reported"), [([1], [1]), ([2, 0], [0, 2]), ([], []), (None, [0, 1, 2])])
def test_only_wanted_classes_are_reported(name: str, wanted: list[int] | None, reported: list[int]) -> None:
    assert head(name, class_ids=wanted).decode(raw(name, THREE), 640, 640).rows[:, 5].tolist() == reported


# Of heads that find more than boxes: the part of `Found` that it is in.
DETAILS = {"segment": "masks", "pose": "keypoints", "obb": "corners"}


@every_head
def test_what_there_is_beside_boxes_is_that_heads_own(name: str) -> None:
    found = head(name, class_ids=[0, 2]).decode(raw(name, THREE), 640, 640)
    parts = {part: getattr(found, part) for part in ("masks", "keypoints", "corners")}
    assert [part for part, value in parts.items() if value is not None] == ([DETAILS[name]] if name in DETAILS else [])
    assert found.is_plain == (name not in DETAILS)
    assert found.detailed == (2 if name in DETAILS else 0)


@every_head
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_limit_keeps_the_best(name: str, limit: int) -> None:
    rows = head(name, limit=limit).decode(raw(name, THREE), 640, 640).rows
    assert rows[:, 4].tolist() == pytest.approx([0.875, 0.75, 0.625][:limit])


@every_head
def test_unwanted_classes_do_not_use_up_the_limit(name: str) -> None:
    assert head(name, class_ids=[2], limit=1).decode(raw(name, THREE), 640, 640).rows[:, 5].tolist() == [2]


@every_head
@pytest.mark.parametrize("found", [[], [(10, 20, 50, 80, 0.25, 0)]], ids=["no candidates", "nothing good enough"])
def test_nothing_found_is_an_empty_table(name: str, found: Found) -> None:
    rows = head(name).decode(raw(name, found), 640, 640).rows
    assert rows.shape == (0, 6)
    assert rows.dtype == np.float32
    assert head(name).decode(raw(name, found), 640, 640).detailed == 0


def test_a_shape_ends_where_its_box_does() -> None:
    masks = head("segment").decode(raw("segment", [(10, 20, 13, 80, 0.75, 1)]), 640, 640).masks
    assert masks is not None
    assert masks.spans.tolist() == [[10, 20, 80], [11, 20, 80], [12, 20, 80]]


def test_an_object_without_a_pixel_is_not_reported_and_its_neighbours_keep_their_shapes() -> None:
    outputs = raw("segment", THREE)
    outputs[0][-2:, 1] = -1
    found = head("segment").decode(outputs, 640, 640)
    assert found.masks is not None
    assert found.rows[:, 5].tolist() == [0, 2]
    assert found.masks.ends.tolist() == [40, 90]
    assert found.masks.spans[40].tolist() == [200, 20, 80]


def test_keypoints_are_those_of_their_objects() -> None:
    found = head("pose", class_ids=[2]).decode(raw("pose", THREE), 640, 640)
    assert found.keypoints is not None
    assert found.keypoints.tolist() == [[[225 + k, 50 + k, 0.75] for k in range(POINTS)]]


def test_keypoints_without_a_confidence_are_told_as_sure() -> None:
    (output,) = raw("pose", THREE)
    info = replace(INFO["pose"], keypoints=(POINTS, 2))
    plain = np.delete(output, [7 + 3 * k + 2 for k in range(POINTS)], axis=0)
    chosen = load_head(info, HALF, 0.7, None, 300)
    check_head(chosen, info, [plain], 640, 640)
    found = chosen.decode([plain], 640, 640)
    assert found.keypoints is not None
    assert found.keypoints[1].tolist() == [[125 + k, 50 + k, 1] for k in range(POINTS)]


def test_a_pose_model_that_does_not_say_its_keypoints_is_refused() -> None:
    with pytest.raises(ModelError, match="toy does not say how many keypoints it has"):
        load_head(replace(INFO["pose"], keypoints=None), HALF, 0.7, None, 300)


def test_an_oriented_box_is_turned_clockwise_and_its_row_is_the_upright_box_around_it() -> None:
    (output,) = raw("obb", [(80, 95, 120, 105, 0.75, 0)])
    output[-1] = np.pi / 2
    found = head("obb").decode([output], 640, 640)
    assert found.corners is not None
    assert found.rows[0, :4].tolist() == pytest.approx([95, 80, 105, 120], abs=1e-4)
    assert found.corners[0].ravel().tolist() == pytest.approx([95, 120, 105, 120, 105, 80, 95, 80], abs=1e-4)


def test_crossing_oriented_boxes_are_two_objects_and_coinciding_ones_are_one() -> None:
    across: Found = [(60, 95, 140, 105, 0.75, 0), (60, 95, 140, 105, 0.625, 0)]
    (output,) = raw("obb", across)
    assert len(head("obb").decode([output], 640, 640).rows) == 1
    output[-1] = 0, np.pi / 2
    assert head("obb").decode([output], 640, 640).rows[:, 4].tolist() == [0.75, 0.625]


def test_yolo_merges_boxes_of_one_object() -> None:
    found: Found = [(10, 20, 50, 80, 0.75, 0), (11, 20, 51, 80, 0.875, 0), (11, 20, 51, 80, 0.625, 1)]
    rows = head("yolo").decode(raw("yolo", found), 640, 640).rows
    assert rows[:, 4:].tolist() == [[0.875, 0], [0.625, 1]]


def test_yolo_reports_an_anchors_best_class_only() -> None:
    (output,) = raw("yolo", [(10, 20, 50, 80, 0.75, 0)])
    output[5, 0] = 0.875
    assert head("yolo").decode([output], 640, 640).rows[:, 4:].tolist() == [[0.875, 1]]


def test_an_anchor_whose_best_class_is_unwanted_is_not_reported_as_its_second() -> None:
    (output,) = raw("yolo", [(10, 20, 50, 80, 0.75, 0)])
    output[5, 0] = 0.875
    assert len(head("yolo", class_ids=[0]).decode([output], 640, 640).rows) == 0


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


@pytest.mark.parametrize("name", ["yolo", "yolox", "segment", "pose", "obb", "rtdetr", "rtdetr_ranked"])
def test_scores_that_are_no_probabilities_are_refused(name: str) -> None:
    """Logits multiply and compare like scores, and report a crowd where nobody is."""
    outputs = raw(name, THREE)
    for value in (1.0, 1.5, -3.0):
        if name == "yolox":
            outputs[0][7, 4] = value
        elif name.startswith("rtdetr"):
            outputs[0][1, 4] = value
        else:
            outputs[0][4, 1] = value
        if value == 1.0:
            check_head(head(name), INFO[name], outputs, 640, 640)
            continue
        with pytest.raises(ModelError, match=rf"does not fit the head '{name}': its scores lie between .*{value:g}"):
            check_head(head(name), INFO[name], outputs, 640, 640)


def test_probabilities_are_refused_where_logits_are_expected() -> None:
    with pytest.raises(ModelError, match="past the sigmoid: say `head: yolox`"):
        check_head(head("yolox_raw"), INFO["yolox_raw"], raw("yolox", THREE), 640, 640)


@every_head
def test_an_output_of_another_head_is_refused(name: str) -> None:
    wrong = [np.zeros((4, 3, 2), np.float32)]
    with pytest.raises(ModelError, match=f"toy does not fit the head '{name}'"):
        check_head(head(name), INFO[name], wrong, 640, 640)
