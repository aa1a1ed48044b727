"""Encodes pictures for browsers, live: no picture waits for another.

Measured on a street of 960x540 pixels at 15 frames a second, 1 Mbit/s, milliseconds of CPU a picture and PSNR: libx264
`ultrafast` 3.3 and 37.7 dB, the same with its deblocking filter 3.8 and 38.1, `superfast` 4.6 and 38.2, `veryfast` 7.8
and 38.2. At 2.5 Mbit/s all are within 0.1 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import av.error
import cv2
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from ingest.errors import VigilError

# FFmpeg's encoders in order of preference, and what browsers call what they make. Constrained baseline, as B-frames are
# what browsers cannot show.
ENCODERS = {"libx264": "h264", "libvpx": "vp8"}
OPTIONS = {
    "libx264": {
        "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1",
        "x264-params": "keyint=infinite:scenecut=0:deblock=0,0",
    },
    "libvpx": {
        "deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "default",
        "auto-alt-ref": "0",
    },
}  # fmt: skip
# A sudden burst may last so long, in seconds of the bitrate: key frames are large, and networks slow.
BURST_S = 0.5
UNIT = Fraction(1, 90_000)
BT601, VIDEO_RANGE = 6, 1


class EncoderError(VigilError):
    """No pictures can be made for viewers."""

    code = "preview.encoder"


class Encoded(NamedTuple):
    data: bytes
    is_key: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """`fps` is about how many pictures a second come; `bitrate` in bits a second."""

    width: int
    height: int
    fps: float
    bitrate: int


class Encoder:
    """For one stream and one thread at a time. The first picture is a key frame."""

    def __init__(self, wish: Wish) -> None:
        """Raises EncoderError."""
        name = next((name for name in ENCODERS if name in av.codecs_available), None)
        if name is None:
            raise EncoderError(
                f"FFmpeg has no encoder for browsers here, none of {', '.join(ENCODERS)}: install PyAV's own wheel"
            )
        self.codec = ENCODERS[name]
        self._name = name
        self._number = 0
        self._wish = wish
        self._context = self._open(wish)

    def follow(self, wish: Wish) -> bool:
        """Does as is wished from the next picture on; False: with another encoder, and so a key frame."""
        before, self._wish = self._wish, wish
        if wish == before:
            return True
        same = (wish.width, wish.height, wish.fps) == (before.width, before.height, before.fps)
        # Less is done within the limit that it was opened with; x264 heeds the average alone once it is open.
        if same and self._name == "libx264" and wish.bitrate <= self._limit:
            self._context.bit_rate = wish.bitrate
            return True
        self._context = self._open(wish)
        return False

    def encode(self, picture: NDArray[np.uint8], key: bool) -> Encoded | None:
        """Encodes a picture of the wished size, uint8 [height, width, 3] BGR; None: the encoder left it out.

        Raises:
            EncoderError
        """
        # OpenCV converts in 0.3 ms what takes FFmpeg 1 ms.
        planes: Any = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = round(self._number / (self._wish.fps * UNIT)), UNIT
        frame.colorspace, frame.color_range = BT601, VIDEO_RANGE
        self._number += 1
        if key:
            frame.pict_type = PictureType.I
        try:
            packets = self._context.encode(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise EncoderError(f"{self._name} fails: {error}") from None
        if not packets:
            return None
        return Encoded(b"".join(bytes(packet) for packet in packets), packets[0].is_keyframe)

    def _open(self, wish: Wish) -> Any:
        self._limit = wish.bitrate
        try:
            context: Any = av.CodecContext.create(self._name, "w")
            context.width, context.height, context.pix_fmt = wish.width, wish.height, "yuv420p"
            context.time_base, context.framerate = UNIT, Fraction(wish.fps).limit_denominator(1000)
            context.bit_rate, context.thread_count = wish.bitrate, 1
            context.colorspace, context.color_range = BT601, VIDEO_RANGE
            context.options = {
                **OPTIONS[self._name], "maxrate": str(wish.bitrate), "bufsize": str(round(BURST_S * wish.bitrate))
            }  # fmt: skip
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            raise EncoderError(
                f"{self._name} does not take {wish.width}x{wish.height} pixels at {wish.bitrate} bit/s: {error}"
            ) from None
        return context
