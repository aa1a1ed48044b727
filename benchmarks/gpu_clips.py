"""The clips of the GPU benchmark: 1080p30 H.264 and H.265 as cameras send them, made once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from benchmarks.clips import OUT
from ingest.scene import NOISE_SIGMA, Scene, photo_path, view

SIZE, RATE, FRAMES = (1920, 1080), 30, 240
SCENE = Scene("bench", "bus.jpg", RATE, FRAMES // RATE, *SIZE, 0.85)
# A camera's usual: a key frame every two seconds, no B-frames, some Mbit/s.
CODECS = {
    "h264": ("libx264", {"preset": "veryfast", "g": "60", "bf": "0", "crf": "26"}),
    "h265": ("libx265", {"preset": "ultrafast", "x265-params": "keyint=60:bframes=0:log-level=none", "crf": "28"}),
}


def clip(codec: str, video: Path | None, frames: int = FRAMES) -> Path:
    """The clip in this codec, a key of `CODECS`: of a video, or of the demo's street when there is none."""
    name = video.stem if video else SCENE.name
    target = OUT / "clips" / f"{name}-1080p{RATE}-{frames}.{codec}.mp4"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part.mp4")
        _encode(part, codec, _video(video) if video else _scene(), frames)
        part.replace(target)
    return target


def _encode(path: Path, codec: str, pictures: Iterator[av.VideoFrame], frames: int) -> None:
    name, options = CODECS[codec]
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream(name, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(frames):
            picture = next(pictures)
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, RATE), 0
            out.mux(stream.encode(picture))
        out.mux(stream.encode())


def _scene() -> Iterator[av.VideoFrame]:
    """The demo's moving view, with sensor noise, for ever."""
    photo = cv2.imread(str(photo_path(SCENE.photo)))
    assert photo is not None
    noise = np.random.default_rng(0).normal(0, NOISE_SIGMA, (SIZE[1], SIZE[0], 3)).astype(np.int8)
    number = 0
    while True:
        picture = cv2.add(view(SCENE, photo, number / RATE), np.roll(noise, 7 * number, axis=1), dtype=cv2.CV_8U)
        yield av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
        number += 1


def _video(path: Path) -> Iterator[av.VideoFrame]:
    """A video's pictures at `SIZE`, one after the other, over and over."""
    while True:
        with av.open(str(path)) as container:
            for image in container.decode(video=0):
                yield image.reformat(*SIZE, format="yuv420p", interpolation="BILINEAR")
