"""Non-maximum suppression keeps what torchvision's keeps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.nms import nms

NO_LIMIT = 10_000


def crowd(seed: int, count: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Many overlapping boxes. Coordinates are eighths, which float32 holds exactly even after the class offset."""
    rng = np.random.default_rng(seed)
    corners = np.round(rng.uniform(0, 300, (count, 2)) * 8) / 8
    sizes = np.round(rng.uniform(5, 200, (count, 2)) * 8) / 8
    boxes = np.hstack([corners, corners + sizes]).astype(np.float32)
    return boxes, rng.random(count, np.float32), rng.integers(0, classes, count).astype(np.int32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "classes"), [(1, 1), (50, 1), (300, 4), (1000, 80)])
@pytest.mark.parametrize("iou", [0.3, 0.45, 0.7])
def test_kept_boxes_are_those_of_torchvision(seed: int, count: int, classes: int, iou: float) -> None:
    import torch
    import torchvision

    boxes, scores, class_ids = crowd(seed, count, classes)
    theirs = torchvision.ops.batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(class_ids).long(), iou
    )
    assert nms(boxes, scores, class_ids, iou, NO_LIMIT).tolist() == theirs.tolist()


def test_the_limit_keeps_the_best() -> None:
    boxes, scores, class_ids = crowd(1, 200, 4)
    every = nms(boxes, scores, class_ids, 0.7, NO_LIMIT)
    assert nms(boxes, scores, class_ids, 0.7, 5).tolist() == every[:5].tolist()
    assert (np.diff(scores[every]) <= 0).all()


def test_no_boxes_give_no_boxes() -> None:
    none = nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), 0.7, 10)
    assert none.tolist() == []


@pytest.mark.parametrize(("iou", "kept"), [(0.5, [0, 1]), (0.49, [0])])
def test_an_overlap_exactly_at_the_threshold_stays(iou: float, kept: list[int]) -> None:
    """Two of three units in common each: IoU 1/2."""
    boxes = np.array([[0, 0, 30, 10], [10, 0, 40, 10]], np.float32)
    assert nms(boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32), iou, 10).tolist() == kept


def test_boxes_of_different_classes_do_not_hide_each_other() -> None:
    boxes = np.array([[0, 0, 30, 10]] * 2, np.float32)
    assert nms(boxes, np.array([0.8, 0.9], np.float32), np.array([0, 1], np.int32), 0.5, 10).tolist() == [1, 0]


def test_empty_boxes_do_no_harm() -> None:
    boxes = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]], np.float32)
    kept = nms(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int32), 0.5, 10)
    assert kept[0] == 0
    assert 2 in kept
