"""Burns a stream's privacy masks into every picture that is made of its frames.

A mask hides each pixel that its polygon touches, a margin around them, and in a resized picture each pixel that was
computed from a hidden one. What to fill is worked out once for a size; filling it is writing runs of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled_nogil

if TYPE_CHECKING:
    import torch

Bits = NDArray[np.bool_]
Place = tuple[int, int, int, int]

# The grey with which the models' inputs are padded: they have learned to see nothing in it.
FILL_VALUE = 114
# Pixels around a mask that go with it: OpenCV draws edges to the pixel, not every pixel they touch; and where several
# pixels share a sample of colour, conversions mix that with the next one.
DRAWN_PX, COLOR_PX = 1, 2
# Sizes that pictures of one stream are made in at a time: the detector's and the viewers'.
MOST_SIZES = 4
# Fixed-point digits of corners given to OpenCV.
SHIFT = 4


class _Resized(NamedTuple):
    """What decides where a resized picture is masked: source (width, height), place in the slot, and slot's shape."""

    source: tuple[int, int]
    place: Place
    shape: tuple[int, ...]


class PrivacyMasks:
    """The masks of one stream, for all threads that make pictures of its frames.

    `polygons` are corners [[x, y], …] in parts of the picture's width and height.
    """

    def __init__(self, polygons: Sequence[Sequence[tuple[float, float]]]) -> None:
        self._polygons = [np.array(polygon, np.float64) for polygon in polygons]
        self._hidden: tuple[tuple[int, int], Bits] | None = None
        self._whole: tuple[tuple[int, ...], NDArray[np.int64]] | None = None
        self._shrunk: dict[_Resized, NDArray[np.int64]] = {}
        self._on_device: tuple[_Resized, torch.Tensor] | None = None

    def hidden(self, width: int, height: int) -> Bits:
        """The pixels of a source picture that nobody may see, bool [height, width], read-only."""
        kept = self._hidden
        if kept is None or kept[0] != (width, height):
            self._hidden = kept = (width, height), self._drawn(width, height)
        return kept[1]

    def _drawn(self, width: int, height: int) -> Bits:
        # With a border, as edges along the picture's own may be drawn just outside of it.
        bits = np.zeros((height + 2 * DRAWN_PX, width + 2 * DRAWN_PX), np.uint8)
        for polygon in self._polygons:
            # OpenCV's pixel is a point at whole numbers, ours an area between them.
            corners = np.rint((polygon * (width, height) - 0.5 + DRAWN_PX) * (1 << SHIFT)).astype(np.int32)
            cv2.fillPoly(bits, [corners], 1, cv2.LINE_8, SHIFT)
        bits = _widened(bits, DRAWN_PX)[DRAWN_PX:-DRAWN_PX, DRAWN_PX:-DRAWN_PX]
        # Four pixels share one colour in 4:2:0 video: none of them, or all.
        bits = np.maximum(bits, _neighbour(bits, 0))
        bits = np.maximum(bits, _neighbour(bits, 1))
        hidden: Bits = _widened(bits, COLOR_PX) > 0
        hidden.flags.writeable = False
        return hidden

    def hidden_in(self, source: tuple[int, int], size: tuple[int, int]) -> Bits:
        """The pixels of a picture resized from `source` to `size` (both width, height) that stem from hidden ones."""
        bits = self.hidden(*source)
        columns, rows = _taps(source[0], size[0]), _taps(source[1], size[1])
        lines = np.logical_or.reduce(bits[rows], axis=0)
        hidden: Bits = np.logical_or.reduce(lines[:, columns], axis=1)
        return hidden

    def fill(self, picture: NDArray[np.uint8]) -> None:
        """Hides what is to be hidden in a picture of the source's size, uint8 [height, width, 3], contiguous."""
        whole = self._whole
        if whole is None or whole[0] != picture.shape:
            height, width, _ = picture.shape
            whole = self._whole = picture.shape, _runs(self.hidden(width, height))
        _fill(picture.reshape(-1), whole[1], FILL_VALUE)

    def fill_shrunk(self, source: tuple[int, int], slot: NDArray[np.uint8], place: Place) -> None:
        """As `fill`, in the part of `slot`, uint8 [height, width, 3], contiguous, that a resized picture was put into.

        Args:
            source: width and height of the picture that was resized.
            slot: where it was written to.
            place: left, top, width and height of the part.
        """
        key = _Resized(source, place, slot.shape)
        runs = self._shrunk.get(key)
        if runs is None:
            runs = _runs(self._in_slot(key))
            # Not changed but replaced: another thread may be looking.
            self._shrunk = {**(self._shrunk if len(self._shrunk) < MOST_SIZES else {}), key: runs}
        _fill(slot.reshape(-1), runs, FILL_VALUE)

    def fill_on_device(self, source: tuple[int, int], slot: torch.Tensor, place: Place) -> None:
        """As `fill_shrunk`, for a slot in GPU memory, on the current stream of its device."""
        key = _Resized(source, place, tuple(slot.shape))
        if self._on_device is None or self._on_device[0] != key:
            self._on_device = key, slot.new_tensor(self._in_slot(key)[..., None]).bool()
        slot.masked_fill_(self._on_device[1], FILL_VALUE)

    def _in_slot(self, key: _Resized) -> Bits:
        left, top, width, height = key.place
        bits = np.zeros(key.shape[:2], np.bool_)
        bits[top : top + height, left : left + width] = self.hidden_in(key.source, (width, height))
        return bits


def warm_up() -> None:
    """Compiles the filling, or loads it compiled: no camera should wait for that."""
    _fill(np.zeros(3, np.uint8), np.array([[0, 3]], np.int64), FILL_VALUE)


def _widened(bits: NDArray[np.uint8], margin: int) -> NDArray[np.uint8]:
    around = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    wide: NDArray[np.uint8] = cv2.dilate(bits, around, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return wide


def _neighbour(bits: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """Each pixel's partner along an axis, where pixels 2n and 2n + 1 are partners."""
    at = np.minimum(np.arange(bits.shape[axis]) ^ 1, bits.shape[axis] - 1)
    partners: NDArray[np.uint8] = bits.take(at, axis)
    return partners


def _taps(source: int, size: int) -> NDArray[np.int64]:
    """The two source pixels that bilinear sampling makes each pixel of, int64 [2, size]; two more where rounding may
    decide otherwise."""
    at = (np.arange(size) + 0.5) * (source / size) - 0.5
    first = np.floor(np.stack([at - 0.01, at + 0.01])).astype(np.int64)
    taps: NDArray[np.int64] = np.clip(np.concatenate([first, first + 1]), 0, source - 1)
    return taps


def _runs(bits: Bits) -> NDArray[np.int64]:
    """The runs of true pixels, of 3 bytes each: first byte, and first byte after, int64 [N, 2]."""
    edges = np.diff(bits.reshape(-1).astype(np.int8), prepend=0, append=0)
    pixels = np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], axis=1)
    runs: NDArray[np.int64] = np.multiply(pixels, 3, dtype=np.int64)
    return runs


@compiled_nogil
def _fill(memory: NDArray[np.uint8], runs: NDArray[np.int64], value: int) -> None:
    for n in range(len(runs)):
        memory[runs[n, 0] : runs[n, 1]] = value
