"""The clips that the benchmarks read: 1080p25 H.264 as a camera would send it, made once from the test videos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
from rich.progress import track

OUT = Path(__file__).parent / "out"
SIZE = (1920, 1080)
RATE = 25
FRAMES = 250
# A camera's usual: a key frame every two seconds, no B-frames, 1 to 4 Mbit/s.
OPTIONS = {"preset": "veryfast", "g": "50", "bf": "0", "crf": "24"}
SOURCES = {
    "carpark": "person-bicycle-car-detection.mp4",
    "crowd": "pedestrian-crowd.avi",
}


def data_folder() -> Path:
    """Where the test videos and weights are: `$VIGIL_TEST_DATA`, or `../shared/data`.

    Raises:
        SystemExit: nowhere.
    """
    folder = Path(os.environ.get("VIGIL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"the benchmarks need the test videos and weights in {folder} (or $VIGIL_TEST_DATA)")
    return folder


def clip(name: str) -> Path:
    """The clip made from the video `name`, a key of `SOURCES`."""
    target = OUT / "clips" / f"{name}-1080p25.mp4"
    if not target.is_file():
        make(data_folder() / "videos" / SOURCES[name], target)
    return target


def rated(name: str, mbit_s: float) -> Path:
    """The same with so many megabits a second, kept within a second's worth of them as cameras with a fixed rate do."""
    target = OUT / "clips" / f"{name}-1080p25-{mbit_s:g}mbit.mp4"
    if not target.is_file():
        rate = str(round(mbit_s * 1e6))
        # One thread: x264 would else cut pictures into slices, which few cameras do.
        options = {
            "preset": "veryfast",
            "g": "50",
            "bf": "0",
            "b": rate,
            "maxrate": rate,
            "bufsize": rate,
            "threads": "1",
        }
        make(data_folder() / "videos" / SOURCES[name], target, options=options)
    return target


def make(
    source: Path, target: Path, codec: str = "libx264", frames: int = FRAMES, options: Mapping[str, str] = OPTIONS
) -> None:
    """Re-encodes `frames` pictures of a video at `SIZE` and `RATE`, at its own speed, over and over if it is short."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part.mp4")
    with av.open(str(part), "w") as out:
        stream = out.add_stream(codec, rate=RATE, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        pictures = _pictures(source)
        for n in track(range(frames), f"making {target.name}", transient=True):
            picture = next(pictures)
            picture.pts, picture.time_base, picture.pict_type = n, Fraction(1, RATE), 0
            out.mux(stream.encode(picture))
        out.mux(stream.encode())
    part.replace(target)


def _pictures(source: Path) -> Iterator[av.VideoFrame]:
    """The picture to be seen at each tick of `RATE`, at `SIZE`, for ever."""
    ticks = 0
    while True:
        began = ticks
        with av.open(str(source)) as container:
            for number, image in enumerate(container.decode(video=0)):
                ends = began + (number + 1) / float(container.streams.video[0].average_rate or RATE) * RATE
                if ends <= ticks:
                    continue
                picture = image.reformat(*SIZE, format="yuv420p", interpolation="BICUBIC")
                while ticks < ends:
                    yield picture
                    ticks += 1
