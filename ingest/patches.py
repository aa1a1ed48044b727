"""Finds again, in later frames, what was within boxes of an earlier one, by its luma.

Of the middle of each box a small grid of means of luma is remembered. In a later frame that grid is laid where the box
should be by then, and moved until it differs least (Lucas and Kanade's method as inverse compositional, Baker and
Matthews, 2004), by fractions of a cell; where that leads nowhere, from the best whole number of cells instead. How
alike the two are there says whether it is still the same thing that is seen. What is behind privacy masks is not looked
at.
"""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from ingest.clock import Clock
from ingest.compiled import compiled, compiled_nogil
from ingest.device_frame import DeviceFrame
from ingest.frame import Frame
from ingest.luma import luma

Luma = NDArray[np.uint8]
Floats = NDArray[np.float32]
Bits = NDArray[np.bool_]

# So many cells across and down at most, and at least either way, of at least so many pixels each way. Of larger cells
# about so many lines and columns are read.
ACROSS, DOWN, LEAST_CELLS, SMALLEST_CELL, READ = 10, 16, 3, 2, 4
# The part of a box that is looked at: its rim shows what is behind it, and legs move by themselves.
LEFT, TOP, RIGHT, BOTTOM = 0.15, 0.05, 0.85, 0.75
# A thing is looked for so many cells around where it should be.
AROUND = 4
# So many steps at most, until they are so short, cells.
STEPS, SETTLED = 8, 0.02
# Grey levels of noise that the slopes of a patch must rise above.
RIDGE = 2.0
# Less alike than this, it may have gone further than steps lead.
SURE = 0.85
# What is remembered of a patch: its left and top, pixels, its rows and columns (0: it is too small), a cell's pixels.
PLACE = 5
NOTHING = np.zeros((0, 0), np.bool_)
NOTHING.flags.writeable = False


class Patches:
    """What N boxes of a frame show, float32 [N, 4] xyxy pixels. In frames on a device, nothing is found."""

    def __init__(self, frame: Frame, boxes: Floats) -> None:
        self._grids = np.zeros((len(boxes), DOWN, ACROSS), np.float32)
        self._places = np.zeros((len(boxes), PLACE), np.int64)
        self._take(frame, boxes, self._grids, self._places)

    def renew(self, frame: Frame, boxes: Floats, which: Bits) -> None:
        """Remembers what some of them, bool [N], show in another frame instead."""
        grids, places = np.zeros_like(self._grids[which]), np.zeros_like(self._places[which])
        self._take(frame, boxes[which], grids, places)
        self._grids[which], self._places[which] = grids, places

    def find(self, frame: Frame, moved: Floats) -> tuple[Floats, Floats]:
        """Where they are in another frame.

        `moved`: float32 [N, 2], how many pixels right and down of where they were they should be.

        Returns:
            The same as it is; as it should be where nothing is found. And float32 [N], how alike they are there: the
            correlation, 0 where nothing is found.
        """
        found, likeness = moved.astype(np.float32), np.zeros(len(moved), np.float32)
        if not isinstance(frame, DeviceFrame):
            _find(luma(frame._native), frame.width, _hidden(frame), self._grids, self._places, found, likeness)
        return found, likeness

    def _take(self, frame: Frame, boxes: Floats, grids: Floats, places: NDArray[np.int64]) -> None:
        if not isinstance(frame, DeviceFrame):
            _take(luma(frame._native), frame.width, _hidden(frame), boxes, grids, places)


def warm_up() -> None:
    """Compiles this, or loads it compiled: no stream should wait for that."""
    frame = Frame("", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, av.VideoFrame(64, 64, "yuv420p"))
    Patches(frame, np.array([[8, 8, 40, 40]], np.float32)).find(frame, np.zeros((1, 2), np.float32))


def _hidden(frame: Frame) -> Bits:
    """What masks hide, bool [height, width]; [0, 0] without any, read-only as well: else it is another type to Numba,
    which compiled all of this anew for the first camera with masks, while others waited."""
    return NOTHING if frame._masks is None else frame._masks.hidden(frame.width, frame.height)


@compiled_nogil
def _take(image: Luma, width: int, hidden: Bits, boxes: Floats, grids: Floats, places: NDArray[np.int64]) -> None:
    for n in range(len(boxes)):
        if not np.isfinite(boxes[n]).all():
            continue
        across, down = boxes[n, 2] - boxes[n, 0], boxes[n, 3] - boxes[n, 1]
        left, right = max(boxes[n, 0] + LEFT * across, 0.0), min(boxes[n, 0] + RIGHT * across, float(width))
        top, bottom = max(boxes[n, 1] + TOP * down, 0.0), min(boxes[n, 1] + BOTTOM * down, float(len(image)))
        cell = max(SMALLEST_CELL, int(np.ceil(max((right - left) / ACROSS, (bottom - top) / DOWN))))
        columns, rows = int((right - left) / cell), int((bottom - top) / cell)
        if columns < LEAST_CELLS or rows < LEAST_CELLS:
            continue
        x, y = int((left + right - columns * cell) / 2), int((top + bottom - rows * cell) / 2)
        if not hidden[y : y + rows * cell, x : x + columns * cell].any():
            for k, value in enumerate((x, y, rows, columns, cell)):  # to a row at once takes Numba seconds to compile
                places[n, k] = value
            _fill_means(image, x, y, cell, grids[n, :rows, :columns])


@compiled
def _fill_means(image: Luma, left: int, top: int, cell: int, out: Floats) -> None:
    rows, columns = out.shape
    step = max(1, cell // READ)
    read = len(range(0, cell, step))
    factor = np.float32(1 / (read * read))
    for i in range(rows):
        for j in range(columns):
            total = 0
            for k in range(top + i * cell, top + (i + 1) * cell, step):
                for m in range(left + j * cell, left + (j + 1) * cell, step):
                    total += image[k, m]
            out[i, j] = total * factor


@compiled_nogil
def _find(
    image: Luma, width: int, hidden: Bits, grids: Floats, places: NDArray[np.int64], moved: Floats, likeness: Floats
) -> None:
    height = len(image)
    memory = np.empty((DOWN + 2 * AROUND, ACROSS + 2 * AROUND), np.float32)
    for n in range(len(grids)):
        left, top, rows, columns, cell = places[n]
        if rows == 0 or not np.isfinite(moved[n]).all():
            continue
        right_by, down_by = int(np.floor(moved[n, 0] + 0.5)), int(np.floor(moved[n, 1] + 0.5))
        # Without the cells that are outside of the picture by now, or at its border.
        x, y = left + right_by, top + down_by
        first, last = max(0, -((x - cell) // cell)), columns - max(0, -((width - x - (columns + 1) * cell) // cell))
        upper, lower = max(0, -((y - cell) // cell)), rows - max(0, -((height - y - (rows + 1) * cell) // cell))
        if last - first < LEAST_CELLS or lower - upper < LEAST_CELLS:
            continue
        x, y = x + first * cell, y + upper * cell
        west, east = min(AROUND, x // cell), min(AROUND, (width - x) // cell - (last - first))
        north, south = min(AROUND, y // cell), min(AROUND, (height - y) // cell - (lower - upper))
        patch = grids[n, upper:lower, first:last]
        seen = memory[: north + len(patch) + south, : west + patch.shape[1] + east]
        x, y = x - west * cell, y - north * cell
        if hidden[y : y + len(seen) * cell, x : x + seen.shape[1] * cell].any():
            continue
        _fill_means(image, x, y, cell, seen)
        right, down, alike = _aligned(patch, seen, west, north, 0.0, 0.0)
        if alike < SURE:
            by_right, by_down = _nearest(patch, seen)
            other_right, other_down, other = _aligned(patch, seen, west, north, by_right - west, by_down - north)
            if other > SURE:
                right, down, alike = other_right, other_down, other
        if alike > 0:
            moved[n, 0], moved[n, 1], likeness[n] = right_by + right * cell, down_by + down * cell, alike


@compiled
def _aligned(patch: Floats, seen: Floats, west: int, north: int, x: float, y: float) -> tuple[float, float, float]:
    """How far right and down of (west, north) `patch` is in `seen`, cells, from (x, y) on, and the correlation there;
    that is 0 where it leads out of what is seen."""
    rows, columns = patch.shape
    level = patch.mean()
    across, down = np.zeros((rows, columns)), np.zeros((rows, columns))
    xx = yy = xy = spread = 0.0
    for i in range(rows):
        for j in range(columns):
            a, b, c, d = max(j - 1, 0), min(j + 1, columns - 1), max(i - 1, 0), min(i + 1, rows - 1)
            across[i, j] = (patch[i, b] - patch[i, a]) / (b - a)
            down[i, j] = (patch[d, j] - patch[c, j]) / (d - c)
            xx += across[i, j] * across[i, j]
            yy += down[i, j] * down[i, j]
            xy += across[i, j] * down[i, j]
            spread += (patch[i, j] - level) ** 2
    size = rows * columns
    xx, yy = xx + RIDGE * size, yy + RIDGE * size
    now = np.empty((rows, columns))
    alike = 0.0
    for _ in range(STEPS):
        j0, i0 = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - j0, y - i0
        total = 0.0
        for i in range(rows):
            k = i + i0 + north
            below = min(k + 1, len(seen) - 1)
            for j in range(columns):
                m = j + j0 + west
                beside = min(m + 1, seen.shape[1] - 1)
                upper, lower = (
                    (1 - fx) * seen[k, m] + fx * seen[k, beside],
                    (1 - fx) * seen[below, m] + fx * seen[below, beside],
                )
                now[i, j] = (1 - fy) * upper + fy * lower
                total += now[i, j]
        shown = total / size
        right = lower_by = squares = both = 0.0
        for i in range(rows):
            for j in range(columns):
                is_now, was = now[i, j] - shown, patch[i, j] - level
                squares += is_now * is_now
                both += is_now * was
                right += across[i, j] * (is_now - was)
                lower_by += down[i, j] * (is_now - was)
        alike = both / np.sqrt(max(squares * spread, 1e-6))
        by_x = (yy * right - xy * lower_by) / (xx * yy - xy * xy)
        by_y = (xx * lower_by - xy * right) / (xx * yy - xy * xy)
        if abs(by_x) < SETTLED and abs(by_y) < SETTLED:
            break
        x, y = x - by_x, y - by_y
        if not (-west <= x <= seen.shape[1] - columns - west and -north <= y <= len(seen) - rows - north):
            return 0.0, 0.0, 0.0
    return x, y, alike


@compiled
def _nearest(patch: Floats, seen: Floats) -> tuple[int, int]:
    """Column and row of `seen` from which `patch` differs least, but for the light."""
    rows, columns = patch.shape
    least, right, down = np.inf, 0, 0
    for y in range(len(seen) - rows + 1):
        for x in range(seen.shape[1] - columns + 1):
            total = squares = 0.0
            for i in range(rows):
                for j in range(columns):
                    difference = seen[y + i, x + j] - patch[i, j]
                    total += difference
                    squares += difference * difference
            spread = squares - total * total / (rows * columns)
            if spread < least:
                least, right, down = spread, x, y
    return right, down
