"""JPEGs of frames and of parts of them. Pictures are uint8 [height, width, 3] BGR, boxes xyxy in their pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ingest.errors import VigilError

Picture = NDArray[np.uint8]
Box = tuple[float, float, float, float]

# Of the object's size, on each side of it.
MARGIN = 0.1
# What a picture loses a side when it has to get smaller once more, and when that is given up.
SMALLER, LEAST_SIDE_PX = 0.8, 64
# BGR; neighbouring numbers look different.
COLOURS = (
    (80, 175, 76), (54, 67, 244), (243, 150, 33), (7, 193, 255), (176, 39, 156), (212, 188, 0), (34, 87, 255),
    (139, 125, 96),
)  # fmt: skip


class JpegError(VigilError):
    """A picture could not be made."""

    code = "media.jpeg"


class Drawn(NamedTuple):
    """A box to draw, the words over it, and the number that gives its colour."""

    box: Box
    words: str
    number: int


def part(picture: Picture, box: Sequence[float], margin: float = MARGIN) -> Picture:
    """The box with a margin of its own size around it, as far as it lies in the picture; not a copy.

    Raises:
        JpegError: nothing of it does.
    """
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    across, down = margin * (x2 - x1), margin * (y2 - y1)
    left, top = max(0, int(x1 - across)), max(0, int(y1 - down))
    right, bottom = min(width, int(np.ceil(x2 + across))), min(height, int(np.ceil(y2 + down)))
    if right <= left or bottom <= top:
        raise JpegError("the box lies outside of the picture")
    return picture[top:bottom, left:right]


def fitted(picture: Picture, max_side: int) -> Picture:
    """The picture, made smaller when a side has more pixels than that; a copy only then."""
    height, width = picture.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller: Picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return smaller


def drawn_on(picture: Picture, boxes: Iterable[Drawn]) -> Picture:
    """A copy of the picture with boxes, and what is in them in words, drawn as large as the picture is."""
    canvas: Any = picture.copy()
    unit = max(1, round(max(canvas.shape[:2]) / 640))
    for (x1, y1, x2, y2), words, number in boxes:
        colour = COLOURS[number % len(COLOURS)]
        cv2.rectangle(canvas, (round(x1), round(y1)), (round(x2), round(y2)), colour, 2 * unit)
        (width, height), below = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * unit, unit)
        left, bottom = round(x1), max(round(y1), height + below)
        cv2.rectangle(canvas, (left, bottom - height - below), (left + width, bottom), colour, cv2.FILLED)
        cv2.putText(
            canvas, words, (left, bottom - below // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5 * unit, (255, 255, 255), unit,
            cv2.LINE_AA,
        )  # fmt: skip
    return canvas  # type: ignore[no-any-return]


def jpeg(picture: Picture, quality: int) -> bytes:
    """Raises JpegError."""
    # OpenCV's libjpeg-turbo takes 2.7 ms for 1280 x 720, FFmpeg's mjpeg 4.4 ms.
    made, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not made:
        raise JpegError(f"a picture of {picture.shape[1]}x{picture.shape[0]} pixels cannot be written as JPEG")
    return data.tobytes()


def jpeg_within(picture: Picture, quality: int, max_side: int, max_bytes: int) -> bytes:
    """A JPEG of at most so many bytes, as small a picture as that takes.

    Raises:
        JpegError: no picture worth looking at fits.
    """
    while max_side >= LEAST_SIDE_PX:
        picture = fitted(picture, max_side)
        data = jpeg(picture, quality)
        if len(data) <= max_bytes:
            return data
        max_side = int(SMALLER * max(picture.shape[:2]))
    raise JpegError(f"no picture of {LEAST_SIDE_PX} pixels or more fits into {max_bytes} bytes")
