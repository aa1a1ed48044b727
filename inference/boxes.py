"""How far boxes overlap, for a few of them at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union [N, M] of boxes [N, 4] and [M, 4], xyxy in any unit; 0 where neither has an area."""
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    our_areas, their_areas = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (ours, theirs))
    union = our_areas[:, None] + their_areas[None] - shared
    overlaps: NDArray[np.float32] = shared / np.maximum(union, np.finfo(np.float32).tiny)
    return overlaps
