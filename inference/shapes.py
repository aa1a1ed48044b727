"""Shapes as vertical spans: out of a model's prototypes, into source-frame pixels, and as run lengths. Compiled."""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from inference.found import Spans


def spans_of(
    coefficients: NDArray[np.float32], prototypes: NDArray[np.float32], boxes: NDArray[np.float32],
    height: int, width: int,
) -> Spans:  # fmt: skip
    """Which pixels of the input belong to each object, within its box.

    As Ultralytics' `process_mask(upsample=True)`: the prototypes are mixed, the mix is enlarged to the input bilinearly
    (pixel centres aligned, as PyTorch does), and what is positive belongs to the object.

    Args:
        coefficients: float32 [N, m].
        prototypes: float32 [m, rows, columns].
        boxes: float32 [N, 4], xyxy in input pixels.
        height, width: the input's size, pixels; up to 65535.
    """
    spans, ends = _spans_of(coefficients, np.ascontiguousarray(prototypes), boxes, height, width)
    return Spans(spans, ends)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _spans_of(
    coefficients: NDArray[np.float32], prototypes: NDArray[np.float32], boxes: NDArray[np.float32],
    height: int, width: int,
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:  # fmt: skip
    _, rows, columns = prototypes.shape
    spans = np.empty((1024, 3), np.uint16)
    ends = np.empty(len(boxes), np.int32)
    count = 0
    line = np.empty(rows, np.float32)
    for n in range(len(boxes)):
        # A pixel is in the box when its left upper corner is.
        left, right = max(0, math.ceil(boxes[n, 0])), min(width, math.ceil(boxes[n, 2]))
        top, bottom = max(0, math.ceil(boxes[n, 1])), min(height, math.ceil(boxes[n, 3]))
        if left < right and top < bottom:
            first_row, _, _ = _between(top, rows, height)
            _, last_row, _ = _between(bottom - 1, rows, height)
            first_column, _, _ = _between(left, columns, width)
            _, last_column, _ = _between(right - 1, columns, width)
            mix = _mix(coefficients[n], prototypes, first_row, last_row + 1, first_column, last_column + 1)
            for x in range(left, right):
                low, high, share = _between(x, columns, width)
                for row in range(first_row, last_row + 1):
                    here = mix[row - first_row]
                    line[row] = here[low - first_column] * (1 - share) + here[high - first_column] * share
                began = -1
                for y in range(top, bottom + 1):
                    inside = False
                    if y < bottom:
                        above, below, part = _between(y, rows, height)
                        inside = line[above] * (1 - part) + line[below] * part > 0
                    if inside and began < 0:
                        began = y
                    elif not inside and began >= 0:
                        if count == len(spans):
                            spans = np.concatenate((spans, np.empty_like(spans)))
                        spans[count, 0], spans[count, 1], spans[count, 2] = x, began, y
                        count += 1
                        began = -1
        ends[n] = count
    return spans[:count].copy(), ends


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _between(pixel: int, cells: int, pixels: int) -> tuple[int, int, np.float32]:
    """The two of `cells` that a pixel of `pixels` is interpolated from, and the second one's share."""
    place = max(np.float32(0), (np.float32(pixel) + np.float32(0.5)) * np.float32(cells / pixels) - np.float32(0.5))
    low = min(int(place), cells - 1)
    return low, min(low + 1, cells - 1), np.float32(place - low)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _mix(
    coefficients: NDArray[np.float32], prototypes: NDArray[np.float32], top: int, bottom: int, left: int, right: int
) -> NDArray[np.float32]:
    """The weighted sum of this part of the prototypes."""
    mix = np.zeros((bottom - top, right - left), np.float32)
    for k in range(len(coefficients)):
        weight = coefficients[k]
        for row in range(top, bottom):
            for column in range(left, right):
                mix[row - top, column - left] += weight * prototypes[k, row, column]
    return mix
