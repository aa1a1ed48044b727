"""Shapes as vertical spans: out of a model's prototypes, into source-frame pixels, and as run lengths. Compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inference.found import Spans
from ingest.compiled import compiled, compiled_nogil


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
    # Compiled code is made anew, for seconds, for every layout of its arguments.
    coefficients, prototypes, boxes = (
        np.require(array, np.float32, ("C", "W")) for array in (coefficients, prototypes, boxes)
    )
    spans, ends = _spans_of(coefficients, prototypes, boxes, height, width)
    return Spans(spans, ends)


@compiled_nogil
def _spans_of(
    coefficients: NDArray[np.float32], prototypes: NDArray[np.float32], boxes: NDArray[np.float32],
    height: int, width: int,
) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:  # fmt: skip
    _, rows, columns = prototypes.shape
    row_of, row_share = _places(rows, height)
    column_of, column_share = _places(columns, width)
    spans = np.empty((1024, 3), np.uint16)
    ends = np.empty(len(boxes), np.int32)
    count = 0
    line = np.empty(rows + 1, np.float32)
    for n in range(len(boxes)):
        # A pixel is in the box when its left upper corner is.
        left, right = max(0, math.ceil(boxes[n, 0])), min(width, math.ceil(boxes[n, 2]))
        top, bottom = max(0, math.ceil(boxes[n, 1])), min(height, math.ceil(boxes[n, 3]))
        if left < right and top < bottom:
            first_row, first_column = row_of[top], column_of[left]
            last_row, last_column = min(row_of[bottom - 1] + 1, rows - 1), min(column_of[right - 1] + 1, columns - 1)
            mix = _mix(coefficients[n], prototypes, first_row, last_row + 1, first_column, last_column + 1)
            for x in range(left, right):
                low, share = column_of[x] - first_column, column_share[x]
                high = min(low + 1, last_column - first_column)
                for row in range(len(mix)):
                    line[row] = mix[row, low] * (1 - share) + mix[row, high] * share
                line[len(mix)] = line[len(mix) - 1]  # below the last row it goes on
                began = -1
                for y in range(top, bottom):
                    row = row_of[y] - first_row
                    inside = line[row] * (1 - row_share[y]) + line[row + 1] * row_share[y] > 0
                    if inside == (began >= 0):
                        continue
                    if inside:
                        began = y
                    else:
                        spans = _with_room(spans, count)
                        spans[count, 0], spans[count, 1], spans[count, 2] = x, began, y
                        count += 1
                        began = -1
                if began >= 0:
                    spans = _with_room(spans, count)
                    spans[count, 0], spans[count, 1], spans[count, 2] = x, began, bottom
                    count += 1
        ends[n] = count
    return spans[:count].copy(), ends


@compiled
def _with_room(spans: NDArray[np.uint16], count: int) -> NDArray[np.uint16]:
    """The spans, with room for one after the first `count`."""
    return np.concatenate((spans, np.empty_like(spans))) if count == len(spans) else spans


@compiled
def _places(cells: int, pixels: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each pixel the first of the two cells that it is interpolated from, and the second one's share."""
    first, share = np.empty(pixels, np.int32), np.empty(pixels, np.float32)
    scale = np.float32(cells / pixels)
    for pixel in range(pixels):
        place = max(np.float32(0), (np.float32(pixel) + np.float32(0.5)) * scale - np.float32(0.5))
        first[pixel] = min(int(place), cells - 1)
        share[pixel] = place - np.float32(first[pixel])
    return first, share


@compiled
def _mix(
    coefficients: NDArray[np.float32], prototypes: NDArray[np.float32], top: int, bottom: int, left: int, right: int
) -> NDArray[np.float32]:
    """The weighted sum of this part of the prototypes."""
    mix = np.zeros((bottom - top, right - left), np.float32)
    for k in range(len(coefficients)):
        weight = coefficients[k]
        for row in range(bottom - top):
            for column in range(right - left):
                mix[row, column] += weight * prototypes[k, top + row, left + column]
    return mix
