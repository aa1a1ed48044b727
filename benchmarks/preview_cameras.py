"""The cameras of `benchmarks/preview.py`, and the clips that only they play."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import av

from benchmarks.clips import OUT, RATE, SIZE, clip

# Squares of this side carry the number's bits, the least first; what is drawn over them is seen by the row of their
# opposites below.
BITS, SIDE = 12, 48
FRAMES = 500
PROGRAM = Path(__file__).with_name("preview_camera.py")


def numbered() -> Path:
    """The car park, with each picture's number in its top left corner."""
    target = OUT / "clips" / "carpark-1080p25-numbered-2.mp4"
    if target.is_file():
        return target
    part = target.with_suffix(".part.mp4")
    with av.open(str(part), "w") as out, av.open(str(clip("carpark"))) as source:
        stream = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "g": "50", "bf": "0", "crf": "24"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        # One slice a picture: GStreamer would put parameter sets before each of a key frame's, and FFmpeg then takes
        # them for pictures.
        stream.codec_context.thread_type = "FRAME"
        images = list(source.decode(video=0))
        for number in range(FRAMES):
            planes = images[number % len(images)].to_ndarray(format="yuv420p")
            for bit in range(BITS):
                white = number >> bit & 1
                planes[:SIDE, SIDE * bit : SIDE * (bit + 1)] = 235 if white else 16
                planes[SIDE : 2 * SIDE, SIDE * bit : SIDE * (bit + 1)] = 16 if white else 235
            picture = av.VideoFrame.from_ndarray(planes, "yuv420p")
            picture.pts = number
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    return part.rename(target)


class Cameras:
    """Play clips over RTSP, by name. A context manager.

    Attributes:
        urls: by name.
        began: wall-clock time of the first picture of whichever began to play last; of use where there is one camera.
    """

    def __init__(self, clips: Mapping[str, Path]) -> None:
        command = ["/usr/bin/python3", str(PROGRAM), *(f"{name}={file}" for name, file in clips.items())]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        port = json.loads(self._output.readline())["port"]
        self.urls = {name: f"rtsp://127.0.0.1:{port}/{name}" for name in clips}
        self.began = 0.0

    def __enter__(self) -> Cameras:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def follow(self) -> None:
        """Hears of what began since; Vigil may have connected anew, on a busy machine."""
        while select.select([self._output], [], [], 0)[0]:
            self.began = json.loads(self._output.readline())["began"]

    def age_ms(self, number: int, at_ms: float) -> float:
        """How old the picture with this number is at a wall-clock time; the clip is played over and over."""
        ticks = (at_ms / 1e3 - self.began) * RATE - number
        return ticks % FRAMES / RATE * 1e3
