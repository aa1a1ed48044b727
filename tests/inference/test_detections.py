"""Detections are refused unless their arrays have the promised shapes and types."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from inference.detections import Detections
from inference.found import Found
from inference.letterbox import Letterbox

BOXES = np.zeros((2, 4), np.float32)
SCORES = np.zeros(2, np.float32)
CLASSES = np.zeros(2, np.int32)


def test_no_detections_have_the_promised_shapes() -> None:
    empty = Detections.empty()
    assert len(empty) == 0
    assert (empty.boxes.shape, empty.boxes.dtype) == ((0, 4), np.float32)
    assert (empty.scores.shape, empty.scores.dtype) == ((0,), np.float32)
    assert (empty.class_ids.shape, empty.class_ids.dtype) == ((0,), np.int32)


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ((BOXES.astype(np.float64), SCORES, CLASSES), "boxes"),
        ((BOXES[:, :3], SCORES, CLASSES), "boxes"),
        ((BOXES.ravel(), SCORES, CLASSES), "boxes"),
        ((BOXES, SCORES[:1], CLASSES), "scores"),
        ((BOXES, SCORES[:, None], CLASSES), "scores"),
        ((BOXES, SCORES.astype(np.float16), CLASSES), "scores"),
        ((BOXES, SCORES, CLASSES[:1]), "class_ids"),
        ((BOXES, SCORES, CLASSES.astype(np.int64)), "class_ids"),
        ((np.zeros(0, np.float32), SCORES[:0], CLASSES[:0]), "boxes"),
    ],
)
def test_a_wrong_array_is_refused_by_name(arrays: tuple[Any, Any, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} must be"):
        Detections(*arrays)


def test_the_ecosystems_container_holds_the_same() -> None:
    detections = Detections(BOXES + 5, SCORES + np.float32(0.5), CLASSES + 3)
    theirs = detections.to_supervision()
    assert np.array_equal(theirs.xyxy, detections.boxes)
    assert np.array_equal(theirs.confidence, detections.scores)
    assert np.array_equal(theirs.class_id, detections.class_ids)
    assert len(Detections.empty().to_supervision()) == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_detections_of_any_number_are_of_the_same_types_to_compiled_code(count: int) -> None:
    """Else it is compiled anew while cameras wait: for a received array, which is read-only, and for a single row."""
    received = np.frombuffer(np.ones((count, 6), np.float32).tobytes(), np.float32).reshape(count, 6)
    found = Detections.in_source(Found(received), Letterbox.fit(64, 48, 64))
    usual = Detections.in_source(Found(np.ones((3, 6), np.float32)), Letterbox.fit(64, 48, 64))
    for ours, theirs in ((found.boxes, usual.boxes), (found.scores, usual.scores)):
        assert numba.typeof(ours) == numba.typeof(theirs)
