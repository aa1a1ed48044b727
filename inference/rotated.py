"""Oriented boxes: how much two of them are one, which of them to keep, and their corners.

An oriented box is [centre x, centre y, width, height, angle]: pixels, and radians from the x axis to the width.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inference.nms import MAX_CANDIDATES
from ingest.compiled import compiled

# Ultralytics' own guard against division by zero and the logarithm of it.
EPSILON = 1e-7


def rotated_nms(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int32], iou: float, limit: int
) -> NDArray[np.intp]:
    """Indices of the oriented boxes to keep, best first, as Ultralytics does it.

    That is "fast" NMS (Bolya et al., 2019): a box goes when it is too much like any better one of its class, even one
    that goes itself.

    Args:
        boxes: float32 [N, 5].
        scores: [N].
        class_ids: [N].
        iou: a box that is more than this like a better one of its class goes.
        limit: at most this many are kept.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    kept: NDArray[np.intp] = order[_unlike_better(boxes[order], class_ids[order], iou, limit)]
    return kept


def corners_of(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N, 4, 2]: x, y of the corners of oriented boxes [N, 5], in Ultralytics' order, one way round."""
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    half_width, half_height = boxes[:, 2] / 2, boxes[:, 3] / 2
    along = np.column_stack([half_width * cos, half_width * sin])
    across = np.column_stack([-half_height * sin, half_height * cos])
    centre = boxes[:, :2]
    corners = [centre + along + across, centre + along - across, centre - along - across, centre - along + across]
    return np.stack(corners, axis=1).astype(np.float32, copy=False)


@compiled
def _unlike_better(
    boxes: NDArray[np.float32], class_ids: NDArray[np.int32], iou: float, limit: int
) -> NDArray[np.bool_]:
    """Which of the boxes, best first, are like no better one, up to `limit` of them."""
    kept = np.zeros(len(boxes), np.bool_)
    spreads = np.empty((len(boxes), 3))
    count = 0
    for i in range(len(boxes)):
        if count == limit:
            break
        _spread(boxes[i], spreads[i])
        alone = True
        for j in range(i):
            if class_ids[i] == class_ids[j] and _likeness(boxes[i], spreads[i], boxes[j], spreads[j]) > iou:
                alone = False
                break
        kept[i] = alone
        count += alone
    return kept


@compiled
def _spread(box: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    """The covariance of a uniform distribution over the box: [[a, c], [c, b]] as a, b, c."""
    along, across = box[2] ** 2 / 12, box[3] ** 2 / 12
    cos, sin = math.cos(box[4]), math.sin(box[4])
    out[0] = along * cos * cos + across * sin * sin
    out[1] = along * sin * sin + across * cos * cos
    out[2] = (along - across) * cos * sin


@compiled
def _likeness(
    one: NDArray[np.float32], one_spread: NDArray[np.float64], other: NDArray[np.float32],
    other_spread: NDArray[np.float64],
) -> float:  # fmt: skip
    """ProbIoU (Llerena et al., 2021, eq. 5-8): one minus the Hellinger distance of the two boxes as Gaussians."""
    a, b, c = one_spread + other_spread
    dx, dy = one[0] - other[0], one[1] - other[1]
    determinant = a * b - c * c
    apart = (a * dy * dy + b * dx * dx - 2 * c * dx * dy) / (determinant + EPSILON) / 4
    own = max(one_spread[0] * one_spread[1] - one_spread[2] ** 2, 0.0)
    others = max(other_spread[0] * other_spread[1] - other_spread[2] ** 2, 0.0)
    differing = math.log(determinant / (4 * math.sqrt(own * others) + EPSILON) + EPSILON) / 2
    distance = min(max(apart + differing, EPSILON), 100.0)
    return 1 - math.sqrt(1 - math.exp(-distance) + EPSILON)
