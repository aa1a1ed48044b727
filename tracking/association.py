"""Which known box is which seen box: overlaps, and the assignment of least total cost."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns that belong together."""


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union [N, M] of xyxy boxes [N, 4] and [M, 4]; 0 where both are empty."""
    overlap = np.zeros((len(first), len(second)))
    for i in range(len(first)):
        a = first[i]
        area = (a[2] - a[0]) * (a[3] - a[1])
        for j in range(len(second)):
            b = second[j]
            width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            if width > 0 and height > 0:
                shared = width * height
                overlap[i, j] = shared / (area + (b[2] - b[0]) * (b[3] - b[1]) - shared)
    return overlap


def assign(cost: NDArray[np.float64], limit: float) -> Pairs:
    """Pairs of least total cost, where leaving one out costs `limit`; every pair's cost is below it."""
    gain = np.minimum(cost - limit, 0)
    rows, columns = linear_sum_assignment(gain)
    kept = gain[rows, columns] < 0
    return rows[kept], columns[kept]
