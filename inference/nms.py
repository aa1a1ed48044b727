"""Non-maximum suppression of the boxes left after the score filter, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

MAX_CANDIDATES = 30_000
# Boxes of different classes are moved apart by more than any picture is wide, so that one pass serves all classes.
CLASS_OFFSET_PX = 7680.0


def nms(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int32], iou: float, limit: int
) -> NDArray[np.intp]:
    """Indices of the boxes to keep, best first: greedy, per class, as torchvision's batched_nms.

    Args:
        boxes: [N, 4] xyxy, any unit of at most `CLASS_OFFSET_PX`.
        scores: [N].
        class_ids: [N].
        iou: a box that overlaps a better one of its class by more than this goes.
        limit: at most this many are kept.
    """
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    moved = boxes[order] + (class_ids[order, None] * np.float32(CLASS_OFFSET_PX))
    kept: NDArray[np.intp] = order[_greedy(moved, np.float32(iou), limit)]
    return kept


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _greedy(boxes: NDArray[np.float32], iou: np.float32, limit: int) -> NDArray[np.bool_]:
    """Which of the boxes, best first, overlap no better one that is kept."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = np.ones(len(boxes), np.bool_)
    count = 0
    for i in range(len(boxes)):
        if count == limit:
            kept[i] = False
        if not kept[i]:
            continue
        count += 1
        for j in range(i + 1, len(boxes)):
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            if kept[j] and width > 0 and height > 0:
                overlap = width * height
                # not overlap / union, as no division can fail on an empty box
                kept[j] = overlap <= iou * (areas[i] + areas[j] - overlap)
    return kept
