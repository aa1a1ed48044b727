"""Which known box is which seen box: overlaps, and the assignment of least total cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

Boxes = NDArray[np.float64]


@compiled
def iou(a: Boxes, b: Boxes) -> float:
    """Intersection over union of two xyxy boxes [4]; 0 where both are empty."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)  # type: ignore[no-any-return]


@compiled
def distances(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """1 - IoU of each of `a` [N, 4] with each of `b` [M, 4]: float64 [N, M]."""
    apart = np.empty((len(a), len(b)))
    for n in range(len(a)):
        for m in range(len(b)):
            apart[n, m] = 1 - iou(a[n], b[m])
    return apart


@compiled
def assign(cost: NDArray[np.float64], limit: float) -> NDArray[np.intp]:
    """The column of each row, -1 for none: pairs of least total cost, where leaving a row without costs `limit`.

    No pair costs `limit` or more. Shortest augmenting paths (Crouse, On implementing 2D rectangular assignment
    algorithms, 2016) over [N, M + N] gains, where every row finds columns beyond the M that cost nothing.
    """
    rows, real = cost.shape
    columns = real + rows
    gain = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(real):
            gain[row, column] = min(cost[row, column] - limit, 0.0)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of, column_of = np.full(columns, -1), np.full(rows, -1)
    came_from = np.empty(columns, np.intp)
    for first in range(rows):
        distance = np.full(columns, np.inf)
        row_seen, column_seen = np.zeros(rows, np.bool_), np.zeros(columns, np.bool_)
        row, so_far, end = first, 0.0, -1
        while end < 0:
            row_seen[row] = True
            nearest, least = -1, np.inf
            for column in range(columns):
                if column_seen[column]:
                    continue
                through = so_far + gain[row, column] - row_price[row] - column_price[column]
                if through < distance[column]:
                    distance[column], came_from[column] = through, row
                if distance[column] < least or (distance[column] == least and row_of[column] < 0):
                    nearest, least = column, distance[column]
            so_far = least
            column_seen[nearest] = True
            if row_of[nearest] < 0:
                end = nearest
            else:
                row = row_of[nearest]
        row_price[first] += so_far
        for other in np.flatnonzero(row_seen):
            if other != first:
                row_price[other] += so_far - distance[column_of[other]]
        for passed in np.flatnonzero(column_seen):
            column_price[passed] -= so_far - distance[passed]
        column = end
        while True:
            row = came_from[column]
            row_of[column] = row
            column_of[row], column = column, column_of[row]
            if row == first:
                break
    for row in range(rows):
        if column_of[row] >= real or gain[row, column_of[row]] == 0:
            column_of[row] = -1
    return column_of
