"""Non-maximum suppression in NumPy: the boxes left after the score filter are few, and no GPU library need load."""

from __future__ import annotations

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
    x1, y1, x2, y2 = moved.T
    areas = (x2 - x1) * (y2 - y1)
    kept: list[int] = []
    remaining = np.arange(len(order))
    while len(remaining) and len(kept) < limit:
        best, rest = remaining[0], remaining[1:]
        kept.append(int(best))
        width = np.minimum(x2[best], x2[rest]) - np.maximum(x1[best], x1[rest])
        height = np.minimum(y2[best], y2[rest]) - np.maximum(y1[best], y1[rest])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        # x > iou * union, as no division can fail on an empty box
        remaining = rest[overlap <= iou * (areas[best] + areas[rest] - overlap)]
    return order[kept]
