"""Which known box is which seen box: overlaps, and the assignment of least total cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns that belong together."""


def iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union [N, M] of xyxy boxes [N, 4] and [M, 4]; 0 where both are empty."""
    a, b = first[:, None, :], second[None, :, :]
    corner_low = np.maximum(a[..., :2], b[..., :2])
    size = np.minimum(a[..., 2:], b[..., 2:]) - corner_low
    np.maximum(size, 0, out=size)
    shared = size[..., 0] * size[..., 1]
    areas = (first[:, 2] - first[:, 0]) * (first[:, 3] - first[:, 1])
    others = (second[:, 2] - second[:, 0]) * (second[:, 3] - second[:, 1])
    union = areas[:, None] + others[None, :] - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(union), where=union > 0)
    return overlap


def assign(cost: NDArray[np.float64], limit: float) -> Pairs:
    """Pairs of least total cost, where leaving one out costs `limit`; every pair's cost is below it."""
    gain = np.minimum(cost - limit, 0)
    rows, columns = linear_sum_assignment(gain)
    kept = gain[rows, columns] < 0
    return rows[kept], columns[kept]
