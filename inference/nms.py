"""Non-maximum suppression of the boxes left after the score filter, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

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
    kept: NDArray[np.intp] = _greedy(boxes, order, class_ids, np.float32(iou), limit)
    return kept


@compiled
def _greedy(
    boxes: NDArray[np.float32], order: NDArray[np.intp], class_ids: NDArray[np.int32], iou: np.float32, limit: int
) -> NDArray[np.intp]:
    """As `nms`; `order`: the boxes to look at, best first."""
    moved = np.empty((len(order), 5), np.float32)  # moved boxes, best first, and their areas
    for n, index in enumerate(order):
        for side in range(4):
            moved[n, side] = boxes[index, side] + np.float32(class_ids[index]) * np.float32(CLASS_OFFSET_PX)
        moved[n, 4] = (moved[n, 2] - moved[n, 0]) * (moved[n, 3] - moved[n, 1])
    hidden = np.zeros(len(order), np.bool_)
    kept = np.empty(min(limit, len(order)), np.intp)
    count = 0
    for i in range(len(order)):
        if count == limit:
            break
        if hidden[i]:
            continue
        kept[count] = order[i]
        count += 1
        left, top, right, bottom, area = moved[i]
        for j in range(i + 1, len(order)):
            width = min(right, moved[j, 2]) - max(left, moved[j, 0])
            height = min(bottom, moved[j, 3]) - max(top, moved[j, 1])
            if width > 0 and height > 0:
                shared = width * height
                # not shared / union, as no division can fail on an empty box
                hidden[j] |= shared > iou * (area + moved[j, 4] - shared)
    return kept[:count]
