"""Where objects spend their time: a grid over the picture, of seconds that fade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.compiled import compiled
from tracking.rules.geometry import Points

# Cells across a picture, and at most down it.
COLUMNS, MOST_ROWS = 64, 128
# New seconds are entered ever larger, instead of all the others being made smaller; at this factor all are.
LARGEST = 2.0**20


@dataclass(frozen=True, slots=True)
class Heat:
    """Attributes:
    seconds: float64 [rows, columns], object seconds in each part of the picture, faded.
    over_s: for how long they have been collected, seconds.
    """

    seconds: NDArray[np.float64]
    half_life_s: float
    over_s: float


class HeatMap:
    """Of one stream, over its sessions. Times are the stream's `Timeline`, ns."""

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._grid = np.zeros((0, COLUMNS))
        self._scaled_at_ns = 0
        self._now_ns = 0

    def add(self, points: Points, seconds: NDArray[np.float64], aspect: float, now_ns: int) -> None:
        """Enters that objects at `points` [N, 2], in picture heights, were there for `seconds` [N]; `aspect` is the
        picture's width over its height."""
        if not len(self._grid):
            self._grid = np.zeros((min(MOST_ROWS, max(1, round(COLUMNS / aspect))), COLUMNS))
        self._now_ns = now_ns
        if (scale := self._scale()) > LARGEST:
            self._grid /= scale
            self._scaled_at_ns, scale = now_ns, 1.0
        _enter(self._grid, points, seconds, aspect, scale)

    def _scale(self) -> float:
        """How much a second now is worth in the grid."""
        return float(2.0 ** min(1000.0, (self._now_ns - self._scaled_at_ns) / NS / self._half_life_s))

    def now(self) -> Heat:
        return Heat(self._grid / self._scale(), self._half_life_s, self._now_ns / NS)


@compiled
def _enter(
    grid: NDArray[np.float64], points: Points, seconds: NDArray[np.float64], aspect: float, scale: float
) -> None:
    rows, columns = grid.shape
    for n in range(len(points)):
        column = min(columns - 1, max(0, int(points[n, 0] / aspect * columns)))
        row = min(rows - 1, max(0, int(points[n, 1] * rows)))
        grid[row, column] += seconds[n] * scale
