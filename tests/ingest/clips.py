"""Short clips for tests, encoded with whatever FFmpeg's encoders there are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (128, 96)


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> Iterator[av.VideoFrame]:
    """A bright square that moves over noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    for number in range(count):
        picture = rng.integers(0, 60, (height, width, 3), np.uint8)
        left = 4 * number % (width - 32)
        picture[height // 3 : height // 3 + 32, left : left + 32] = 200
        yield av.VideoFrame.from_ndarray(picture, format="bgr24")


def write(
    target: Path | io.BytesIO, codec: str = "libx264", format: str = "mpegts", frames: int = 20, rate: int = 10,
    size: tuple[int, int] = SIZE, options: dict[str, str] | None = None, first_pts: int = 0, key_every: int = 10,
) -> None:  # fmt: skip
    """Encodes `frames` pictures; timestamps begin at `first_pts` / `rate` seconds."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    where = str(target) if isinstance(target, Path) else target
    with av.open(where, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, options={"bf": "0", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.gop_size = key_every
        stream.codec_context.time_base = Fraction(1, rate)
        if codec == "mjpeg":
            stream.codec_context.color_range = 2
        for number, picture in enumerate(pictures(frames, size)):
            frame = picture.reformat(format=pixels)
            frame.pts = first_pts + number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def encoded(**settings: object) -> bytes:
    """As `write`, in memory: MPEG-TS unless told otherwise."""
    buffer = io.BytesIO()
    write(buffer, **settings)  # type: ignore[arg-type]
    return buffer.getvalue()


def jpegs(count: int, size: tuple[int, int] = SIZE) -> list[bytes]:
    """As many JPEG files."""
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, "yuvj420p"
    encoder.time_base = Fraction(1, 10)
    encoder.color_range = 2
    files = []
    for number, picture in enumerate(pictures(count, size)):
        frame = picture.reformat(format="yuvj420p")
        frame.pts = number
        files += [bytes(packet) for packet in encoder.encode(frame)]
    return files + [bytes(packet) for packet in encoder.encode()]
