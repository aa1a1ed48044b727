"""Notices where a picture has changed since a detector last saw it, from small means of its luma.

The picture is compared not with the one before but with the one that the detector was last asked about: what moves so
slowly that no two frames differ adds up until it is seen, and what stopped where it was last seen has not moved.

A cell has changed when its mean differs by more than `least_change` grey levels and by more than it usually does: what
trembles all the time (leaves, water, sensor noise) raises its own bar. Before that the light is taken out, a gain and
an offset for the whole picture, and the sway of the mast, a shift of it: clouds, a camera's exposure and wind are no
movement. Cells count only where several of a neighbourhood have changed: a drop of rain is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from numba import uint16, uint32
from numpy.typing import NDArray

from ingest.clock import NS, Clock
from ingest.compiled import compiled, compiled_nogil
from ingest.device_frame import DeviceFrame
from ingest.frame import Frame
from ingest.luma import luma

Grid = NDArray[np.float32]
Marks = NDArray[np.uint8]

# Cells are squares of a multiple of 4 pixels (2 in small pictures), about so many across the picture.
CELLS_ACROSS = 120
# So many of a cell and its eight neighbours must have changed, and in so many places.
LEAST_CELLS, LEAST_PLACES = 4, 3
# A cell's bar in standard deviations of its usual difference, and the highest it gets, grey levels: an object in front
# of leaves still differs more than they do.
DEVIATIONS, HIGHEST_BAR = 3.0, 40.0
# Seconds over which a cell's usual difference is learnt; a single one teaches no more than this one, grey levels.
LEARNING_S, MOST_LEARNT = 5.0, 16.0
# Every other one of four 16-bit numbers in a word, and the lower half of it.
LANES, LANE = np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)
# Differences up to this are taken for the light's and the mast's when these are fitted, and grey levels of this
# variance must speak for a gain or a shift.
LIT, RIDGE, GREY = 10.0, 1.0, 128.0
# One of so many cells takes part in that.
FITTED = 8
DARKEST, BRIGHTEST = 0.5, 2.0
# A cell may differ by this part of how its neighbours differ from each other: edges are not where cells end.
BLUR = 0.25
# A picture that has moved by more cells in either direction is another one.
FARTHEST = 1.5
# By so few cells it need not be moved for, as the slope of the picture tells what they make.
SLIGHT = 0.1
# What was already asked about is known this many cells around.
ASKED_CELLS = 6


@dataclass(frozen=True, slots=True)
class Motion:
    """What has changed since the reference.

    Attributes:
        moved: something has.
        unknown: something has that is within none of the known boxes.
        fresh: and where nothing at all had when the reference was taken.
        boxes: bool [N], in which of the known boxes something has.
    """

    moved: bool
    unknown: bool
    fresh: bool
    boxes: NDArray[np.bool_]


class MotionGate:
    """Of one stream's current session, in one thread. What is behind privacy masks it does not see.

    `least_change`: grey levels of 255.
    """

    def __init__(self, least_change: float) -> None:
        self._least = least_change
        self._size: tuple[int, int] | None = None
        self._pts_ns = 0
        self._kept = False
        self._now: Grid
        self._reference: Grid
        self._slack: Grid  # how much of a difference is put down to the reference's edges
        self._noise: Grid  # variance of the difference to the reference
        self._visible: Marks
        self._shift: NDArray[np.float32]  # of the picture since the reference, cells right and down
        self._asked: Marks
        self._solid: Marks

    def begin(self) -> None:
        """A new session: nothing is known of its picture."""
        self._size = None

    def look(self, frame: Frame, known: NDArray[np.float32]) -> Motion:
        """What has changed in the frame since the last one that was kept; without one, all of it is new.

        `known` are float32 [N, 4] xyxy boxes, pixels of the source, in which motion is no surprise.
        """
        if self._size != (frame.width, frame.height):
            self._start(frame)
        _fill_levels(frame, self._cell, self._now)
        if self._hides:
            self._now[self._visible == 0] = GREY
        elapsed_s = (frame.pts_ns - self._pts_ns) / NS
        self._pts_ns = frame.pts_ns
        if not self._kept:
            return Motion(True, True, True, np.ones(len(known), np.bool_))
        boxes = np.zeros(len(known), np.bool_)
        learning = min(1.0, elapsed_s / LEARNING_S)
        moved, unknown, fresh = _compare(
            self._now, self._reference, self._slack, self._noise, self._visible, self._asked, self._solid,
            (known / self._cell).astype(np.float32), boxes, self._shift, self._least, learning,
        )  # fmt: skip
        if np.abs(self._shift).max() > FARTHEST:
            self._shift[:] = 0
        return Motion(moved, unknown, fresh, boxes)

    def keep(self) -> None:
        """The frame looked at last is what the next ones are compared with: the detector is asked about it."""
        self._now, self._reference = self._reference, self._now
        if self._kept:
            _widen(self._solid, self._asked)
        self._kept = True
        self._shift[:] = 0
        _fill_slack(self._reference, self._slack)

    def _start(self, frame: Frame) -> None:
        self._size = frame.width, frame.height
        self._cell = max(2, 4 * round(frame.width / CELLS_ACROSS / 4))
        rows, columns = frame.height // self._cell, frame.width // self._cell
        self._now, self._reference, self._slack, self._noise = (np.zeros((rows, columns), np.float32) for _ in range(4))
        self._asked, self._solid = (np.zeros((rows, columns), np.uint8) for _ in range(2))
        self._shift = np.zeros(2, np.float32)
        self._visible = np.ones((rows, columns), np.uint8)
        if frame._masks is not None:
            hidden = frame._masks.hidden(frame.width, frame.height)[: rows * self._cell, : columns * self._cell]
            self._visible[hidden.reshape(rows, self._cell, columns, self._cell).any((1, 3))] = 0
        self._hides = not self._visible.all()
        self._kept = False


def warm_up() -> None:
    """Compiles what usual cameras need, or loads it compiled: no stream should wait for that."""
    gate = MotionGate(1.0)
    frame = Frame("", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, av.VideoFrame(320, 240, "yuv420p"))
    for _ in range(3):
        gate.look(frame, np.zeros((1, 4), np.float32))
        gate.keep()


def _fill_levels(frame: Frame, cell: int, out: Grid) -> None:
    """The mean luma of each cell, from some of its lines, grey levels of 255."""
    if isinstance(frame, DeviceFrame):
        rows, columns = out.shape
        plane = frame._planes()[0]
        cells = plane[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)[:, _lines(cell)]
        out[:] = cells.float().mean((1, 3)).cpu().numpy() / (1 if plane.element_size() == 1 else 256)
        return
    first, second = _lines(cell)
    _average(luma(frame._native), cell, first, second, out)


def _lines(cell: int) -> list[int]:
    """Which of a cell's lines are read."""
    return [cell // 4, 3 * cell // 4]


@compiled_nogil
def _average(luma: NDArray[np.uint8], cell: int, first: int, second: int, out: Grid) -> None:
    rows, columns = out.shape
    width = columns * cell
    factor = np.float32(1 / (2 * cell))
    lanes = cell // 4 if cell % 4 == 0 else 0
    sums = np.empty(width, np.uint16)
    for i in range(rows):
        upper, lower = luma[i * cell + first], luma[i * cell + second]
        for j in range(sums.size):
            sums[j] = uint16(uint16(upper[j]) + uint16(lower[j]))
        if lanes:  # four columns to a word, which is four times as fast
            words = sums.view(np.uint64)
            for j in range(columns):
                four = np.uint64(0)
                for k in range(j * lanes, (j + 1) * lanes):
                    four += words[k]
                both = (four & LANES) + ((four >> np.uint64(16)) & LANES)
                out[i, j] = np.float32(both & LANE) * factor + np.float32(both >> np.uint64(32)) * factor
        else:
            for j in range(columns):
                total = uint32(0)
                for k in range(j * cell, (j + 1) * cell):
                    total = uint32(total + sums[k])
                out[i, j] = total * factor


@compiled_nogil
def _compare(
    now: Grid, reference: Grid, slack: Grid, noise: Grid, visible: Marks, asked: Marks, solid: Marks, known: Grid,
    boxes: NDArray[np.bool_], shift: Grid, least: float, learning: float,
) -> tuple[bool, bool, bool]:  # fmt: skip
    """Fills `solid` and `boxes`, learns `noise`, and returns `Motion`'s `moved`, `unknown` and `fresh`.

    `known` are boxes in cells. `shift` is how far the whole picture had moved since the reference at the last look,
    cells right and down; it is brought up to date.
    """
    rows, columns = now.shape
    expected = np.zeros((rows, columns), np.uint8)
    for n in range(len(known)):
        top, bottom, left, right = _cells(known[n], rows, columns)
        expected[top:bottom, left:right] = 1
    if max(abs(shift[0]), abs(shift[1])) < SLIGHT:
        shift[:] = 0
        before = reference
    else:
        before = _shifted(reference, shift[0], shift[1])
    gain, offset, right_by, down_by = _fit(now, before, visible, expected)
    shift[0] += right_by
    shift[1] += down_by
    changed = np.zeros((rows + 2, columns + 2), np.uint8)  # with a border
    lowest, highest = np.float32(least), np.float32(HIGHEST_BAR)
    deviations, most = np.float32(DEVIATIONS * DEVIATIONS), np.float32(MOST_LEARNT * MOST_LEARNT)
    rate = np.float32(learning)
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            across, down = before[i, j + 1] - before[i, j - 1], before[i + 1, j] - before[i - 1, j]
            along = np.float32(0.5) * (across * right_by + down * down_by)
            difference = now[i, j] - gain * before[i, j] - offset + along
            square = difference * difference
            usual = min(max(deviations * noise[i, j], lowest * lowest), highest * highest)
            bar = usual + slack[i, j] * slack[i, j]
            changed[i + 1, j + 1] = (square > bar) & visible[i, j]
            if not expected[i, j]:
                noise[i, j] += rate * (min(square, most) - noise[i, j])
    moved = is_unknown = fresh = 0
    solid[:] = 0
    for i in range(rows):
        for j in range(columns):
            if not changed[i + 1, j + 1]:
                continue
            around = 0
            for k in range(i, i + 3):
                around += changed[k, j] + changed[k, j + 1] + changed[k, j + 2]
            if around < LEAST_CELLS:
                continue
            moved += 1
            solid[i, j] = 1
            if not expected[i, j]:
                is_unknown += 1
                fresh += not asked[i, j]
    for n in range(len(known)):
        top, bottom, left, right = _cells(known[n], rows, columns)
        boxes[n] = solid[top:bottom, left:right].any()
    return moved >= LEAST_PLACES, is_unknown >= LEAST_PLACES, fresh >= LEAST_PLACES


@compiled
def _cells(box: Grid, rows: int, columns: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of the cells that a box touches, the latter ones after the last."""
    top, left = min(max(int(np.floor(box[1])), 0), rows), min(max(int(np.floor(box[0])), 0), columns)
    bottom, right = min(max(int(np.ceil(box[3])), top), rows), min(max(int(np.ceil(box[2])), left), columns)
    return top, bottom, left, right


@compiled
def _fill_slack(reference: Grid, slack: Grid) -> None:
    rows, columns = reference.shape
    for i in range(rows):
        for j in range(columns):
            lowest = highest = reference[i, j]
            for k in range(max(0, i - 1), min(rows, i + 2)):  # slices would cost thirty times as much
                for m in range(max(0, j - 1), min(columns, j + 2)):
                    lowest, highest = min(lowest, reference[k, m]), max(highest, reference[k, m])
            slack[i, j] = BLUR * (highest - lowest)


@compiled
def _shifted(grid: Grid, right: float, down: float) -> Grid:
    """The grid moved by so many cells, bilinear; at the borders as it was."""
    rows, columns = grid.shape
    x, y = int(np.floor(right)), int(np.floor(down))
    a, b = np.float32(right - x), np.float32(down - y)
    moved = grid.copy()
    first, last = max(0, x + 1), min(columns, columns + x)
    for i in range(max(0, y + 1), min(rows, rows + y)):
        for j in range(first, last):
            upper = (1 - a) * grid[i - y, j - x] + a * grid[i - y, j - x - 1]
            lower = (1 - a) * grid[i - y - 1, j - x] + a * grid[i - y - 1, j - x - 1]
            moved[i, j] = (1 - b) * upper + b * lower
    return moved


@compiled
def _fit(
    now: Grid, before: Grid, visible: Marks, expected: Marks
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Gain and offset that take the light of `before` to that of `now`, and how far the picture has moved, cells.

    The median difference first, which holds while less than half of the picture has changed; then twice the least
    squares of what is near to it. The ridge keeps a picture without contrast in place and its gain at 1.
    """
    rows, columns = now.shape
    counts = np.zeros(511, np.int64)
    total = 0
    for i in range(1, rows - 1):
        for j in range(1 + 3 * i % FITTED, columns - 1, FITTED):
            if visible[i, j] and not expected[i, j]:
                counts[int(now[i, j] - before[i, j] + 255.5)] += 1
                total += 1
    best = np.zeros(4)  # of (before - GREY), 1, and the gradients
    if total == 0:
        return np.float32(1), np.float32(0), np.float32(0), np.float32(0)
    middle, below = 0, counts[0]
    while below * 2 < total:
        middle += 1
        below += counts[middle]
    best[1] = middle - 255.0
    for _ in range(2):
        products, sums, n = np.zeros((4, 4)), np.zeros(4), 0
        for i in range(1, rows - 1):
            for j in range(1 + 3 * i % FITTED, columns - 1, FITTED):
                if not visible[i, j] or expected[i, j]:
                    continue
                level = before[i, j] - GREY
                across, down = (before[i, j - 1] - before[i, j + 1]) / 2, (before[i - 1, j] - before[i + 1, j]) / 2
                y = now[i, j] - before[i, j]
                if abs(y - best[0] * level - best[1] - best[2] * across - best[3] * down) > LIT:
                    continue
                n += 1
                products[0, 0] += level * level
                products[0, 1] += level
                products[0, 2] += level * across
                products[0, 3] += level * down
                products[1, 2] += across
                products[1, 3] += down
                products[2, 2] += across * across
                products[2, 3] += across * down
                products[3, 3] += down * down
                sums[0] += level * y
                sums[1] += y
                sums[2] += across * y
                sums[3] += down * y
        if n * 4 < total:  # another scene
            return np.float32(1), np.float32(0), np.float32(0), np.float32(0)
        products[1, 1] = n
        for one in (0, 2, 3):
            products[one, one] += RIDGE * n
        best = _solved(products, sums)
        best[2], best[3] = min(max(best[2], -1.0), 1.0), min(max(best[3], -1.0), 1.0)
    gain = min(max(1 + best[0], DARKEST), BRIGHTEST)
    return np.float32(gain), np.float32(best[1] - best[0] * GREY), np.float32(best[2]), np.float32(best[3])


@compiled
def _solved(products: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solves symmetric, positive definite equations, of which the upper half is given, by elimination."""
    size = len(sums)
    for k in range(size):
        for i in range(k + 1, size):
            factor = products[k, i] / products[k, k]
            for j in range(i, size):
                products[i, j] -= factor * products[k, j]
            sums[i] -= factor * sums[k]
    for k in range(size - 1, -1, -1):
        for j in range(k + 1, size):
            sums[k] -= products[k, j] * sums[j]
        sums[k] /= products[k, k]
    return sums


@compiled
def _widen(marks: Marks, out: Marks) -> None:
    """Marks in `out` all within `ASKED_CELLS` of the marks."""
    rows, columns = marks.shape
    out[:] = 0
    for i in range(rows):
        for j in range(columns):
            if marks[i, j]:
                out[max(0, i - ASKED_CELLS) : i + ASKED_CELLS + 1, max(0, j - ASKED_CELLS) : j + ASKED_CELLS + 1] = 1
