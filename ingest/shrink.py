"""Resizes a decoded picture into a BGR one: converts only the pixels that are kept, where it can.

Everyone converts the whole frame and then resizes it. For 1080p at 640 x 360 that computes nine colours for each one
used: 1.9 ms of CPU where the kernel below takes 0.1 ms. The result is the same bit for bit, as a detector's scores move
by hundredths when colours are off by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter
from numba import int16, int32, uint8
from numpy.typing import NDArray

from ingest.compiled import compiled, compiled_nogil

Picture = NDArray[np.uint8]

# A frame's colour space (ITU-T H.273, table 4) and FFmpeg's ff_yuv2rgb_coeffs for it, in 1/65536 for video range: V to
# red, U to blue, U to green, V to green.
BT709, BT601, SMPTE240M, BT2020 = 1, 5, 7, 9
CHROMA = {
    BT709: (117489, 138438, 13975, 34925),
    BT601: (104597, 132201, 25675, 53279),
    SMPTE240M: (117579, 136230, 16907, 35559),
    BT2020: (110013, 140363, 12277, 42626),
}
# Each factor has its own kernel, which takes a second to compile and stays: a camera whose picture changes its size all
# the time must not make ever more of them. 12 is 8K at 640.
MOST_TIMES = 12


class Shrinker:
    """For the frames of one stream, in one thread."""

    def __init__(self) -> None:
        self._converter = VideoReformatter()

    def shrink(self, image: av.VideoFrame, slot: Picture, place: tuple[int, int, int, int]) -> None:
        """Writes the picture, as cv2's INTER_LINEAR samples it, into a part of `slot`.

        Args:
            image: a decoded frame.
            slot: uint8 [height, width, 3], BGR, contiguous.
            place: left, top, width and height of the part to write, pixels.
        """
        left, top, width, height = place
        times = _whole_times((image.width, image.height), (width, height))
        if times and image.format.name in ("yuv420p", "yuvj420p"):
            y, u, v = (_rows(plane) for plane in image.planes)
            full = image.format.name == "yuvj420p" or image.color_range == ColorRange.JPEG
            pitch = slot.shape[1] * 3
            _picker(times)(
                y, u, v, _coefficients(image.colorspace, full), slot.reshape(-1), top * pitch + left * 3, pitch,
                width, height,
            )  # fmt: skip
            return
        picture: Any = _converted(self._converter, image).to_ndarray()
        out = slot[top : top + height, left : left + width]
        if picture.shape == out.shape:
            out[:] = picture
        elif out.flags.c_contiguous:
            cv2.resize(picture, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
        else:
            out[:] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def whole(image: av.VideoFrame) -> Picture:
    """A decoded frame at its own size, uint8 [height, width, 3] BGR, contiguous, in memory that is not the frame's."""
    converted = _converted(VideoReformatter(), image)
    picture: Any = converted.to_ndarray()
    own: Picture = picture.copy() if converted is image or not picture.flags.c_contiguous else picture
    return own


def _converted(converter: VideoReformatter, image: av.VideoFrame) -> av.VideoFrame:
    space = image.colorspace if image.colorspace in CHROMA else BT601
    return converter.reformat(image, format="bgr24", src_colorspace=space)


def warm_up() -> None:
    """Compiles the kernels for the usual cameras, or loads them compiled: seconds that no stream should wait for."""
    for times in (1, 2, 3, 4, 6):
        image = av.VideoFrame(4 * times, 4 * times, "yuv420p")
        Shrinker().shrink(image, np.empty((4, 4, 3), np.uint8), (0, 0, 4, 4))


def _whole_times(source: tuple[int, int], size: tuple[int, int]) -> int:
    """How many source pixels stand for one along each axis, if that is a whole number; else 0.

    Bilinear sampling then falls on the middle one, or midway between the middle four.
    """
    times = source[0] // size[0]
    is_whole = source == (size[0] * times, size[1] * times)
    return times if is_whole and size[0] % 2 == 0 and times <= MOST_TIMES else 0


def _rows(plane: VideoPlane) -> Picture:
    """The plane's own memory, uint8 [height, bytes per line]."""
    memory = np.frombuffer(memoryview(plane), np.uint8)
    return memory[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)


@cache
def _coefficients(space: int, full: bool) -> NDArray[np.int16]:
    """Offset and gain of Y, V to red, U and V to green, U to blue, in 1/8192: FFmpeg's."""
    red, blue, green_u, green_v = CHROMA.get(space, CHROMA[BT601])
    gain, offset = (65536, 0) if full else (65536 * 255 // 219, 16 * 8)
    if full:
        red, blue, green_u, green_v = (value * 224 // 255 for value in (red, blue, green_u, green_v))
    return np.array([offset, *((value + 4) >> 3 for value in (gain, red, -green_u, -green_v, blue))], np.int16)


@cache
def _picker(times: int) -> Callable[..., None]:
    """Converts the middle one of each `times` x `times` pixels, or the mean of the middle four where `times` is even.

    A function for each `times`, as the compiler vectorises loops with constant strides only.
    """
    taps = 1 if times % 2 else 2

    @compiled_nogil
    def pick(
        y: Picture, u: Picture, v: Picture, coefficients: NDArray[np.int16],
        out: Picture, first: int, pitch: int, width: int, height: int,
    ) -> None:  # fmt: skip
        """The lines of `out` begin at `first` + n `pitch`."""
        lumas, us, vs = np.empty(width, np.uint8), np.empty(width, np.uint8), np.empty(width, np.uint8)
        parts = np.empty((taps * taps, 3 * width), np.uint8)
        for i in range(height):
            line = out[first + i * pitch : first + i * pitch + 3 * width]
            for tap in range(taps * taps):
                row, column = i * times + (times - 1) // 2 + tap // taps, (times - 1) // 2 + tap % taps
                even, odd = column // 2, (column + times) // 2  # two neighbours' places in the chroma
                ys, u0, u1 = y[row, column:], u[row // 2, even:], u[row // 2, odd:]
                v0, v1 = v[row // 2, even:], v[row // 2, odd:]
                for j in range(lumas.size):
                    lumas[j] = ys[j * times]
                for pair in range(lumas.size // 2):
                    us[2 * pair], us[2 * pair + 1] = u0[pair * times], u1[pair * times]
                for pair in range(lumas.size // 2):
                    vs[2 * pair], vs[2 * pair + 1] = v0[pair * times], v1[pair * times]
                if taps == 1:
                    _convert(lumas, us, vs, coefficients, line)
                else:
                    _convert(lumas, us, vs, coefficients, parts[tap])
            if taps == 2:
                _mean(parts[0], parts[1], parts[2], parts[3], line)

    return pick


@compiled
def _mean(a: Picture, b: Picture, c: Picture, d: Picture, out: Picture) -> None:
    for j in range(out.size):
        out[j] = uint8(int16(int16(int16(a[j]) + int16(b[j])) + int16(int16(c[j]) + int16(d[j])) + 2) >> 2)


@compiled
def _convert(lumas: Picture, us: Picture, vs: Picture, coefficients: NDArray[np.int16], line: Picture) -> None:
    """As FFmpeg's SIMD code computes: in 16 bits.

    Numba computes in 64 unless every step is told otherwise, which is four times as slow here.
    """
    offset, gain, v_red = int16(coefficients[0]), int16(coefficients[1]), int16(coefficients[2])
    u_green, v_green, u_blue = int16(coefficients[3]), int16(coefficients[4]), int16(coefficients[5])
    for j in range(lumas.size):
        luma = _upper(int16(int16(lumas[j]) * 8 - offset), gain)
        a, b = int16(int16(us[j]) * 8 - 1024), int16(int16(vs[j]) * 8 - 1024)
        line[3 * j] = _level(int16(luma + _upper(a, u_blue)))
        line[3 * j + 1] = _level(int16(luma + int16(_upper(a, u_green) + _upper(b, v_green))))
        line[3 * j + 2] = _level(int16(luma + _upper(b, v_red)))


@compiled
def _upper(a: np.int16, b: np.int16) -> np.int16:
    """The upper half of their product."""
    return int16(int32(int32(a) * int32(b)) >> 16)  # type: ignore[no-any-return]


@compiled
def _level(value: np.int16) -> np.uint8:
    return uint8(min(max(value, int16(0)), int16(255)))  # type: ignore[no-any-return]
