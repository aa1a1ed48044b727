"""What objects look like, from the map that the detector's own head looks at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.features import Features, unit
from ingest.compiled import compiled_nogil


def pooled(grid: NDArray[np.float32], boxes: NDArray[np.float32], stride: int, typical: Features) -> Features:
    """What is in the boxes looks like, [N, 2 * channels].

    Of the ways to pool that were tried on real tracks (docs/reid.md) this one tells persons apart best: the means of
    the upper and the lower half, by what is usual in this picture, less what all objects have in common.

    Args:
        grid: float32 [rows, columns, channels], one cell for each `stride` input pixels.
        boxes: float32 [N, 4], xyxy in input pixels.
        typical: float32 [2 * channels], what all objects have in common.
    """
    return unit(unit(halves(grid, boxes, np.float32(stride))) - typical)


@compiled_nogil
def halves(grid: NDArray[np.float32], boxes: NDArray[np.float32], stride: np.float32) -> NDArray[np.float32]:
    """The means of each box's upper and lower half, in deviations from the whole grid's mean, channel by channel."""
    rows, columns, channels = grid.shape
    total, squares = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for row in range(rows):
        for column in range(columns):
            for channel in range(channels):
                value = grid[row, column, channel]
                total[channel] += value
                squares[channel] += value * value
    cells = np.float32(rows * columns)
    mean = total / cells
    deviation = np.sqrt(np.maximum(squares / cells - mean * mean, np.float32(1e-6)))
    found = np.zeros((len(boxes), 2 * channels), np.float32)
    for n in range(len(boxes)):
        left = min(max(int(np.floor(boxes[n, 0] / stride)), 0), columns - 1)
        top = min(max(int(np.floor(boxes[n, 1] / stride)), 0), rows - 1)
        right = max(min(int(np.ceil(boxes[n, 2] / stride)), columns), left + 1)
        bottom = max(min(int(np.ceil(boxes[n, 3] / stride)), rows), top + 1)
        middle = top + (bottom - top + 1) // 2
        for half in range(2):
            first, last = (top, middle) if half == 0 else (min(middle, bottom - 1), bottom)
            part = found[n, half * channels : (half + 1) * channels]
            for row in range(first, last):
                for column in range(left, right):
                    for channel in range(channels):
                        part[channel] += grid[row, column, channel]
            count = np.float32((last - first) * (right - left))
            for channel in range(channels):
                part[channel] = (part[channel] / count - mean[channel]) / deviation[channel]
    return found
