"""Every container and codec that cameras and recorders use, encoded here and read back, once and in a loop."""

from __future__ import annotations

import os
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.fuzz_streams import FRAMES, av1, copied
from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from tests.ingest.clips import jpegs, pictures, write

# Of every codec but AV1, which is copied: `benchmarks/fuzz_streams.py` says why.
ENCODERS = {
    "h264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency"}),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
    "mjpeg": ("mjpeg", {}),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "mpeg4": ("mpeg4", {}),
}
CONTAINERS = {
    "mp4": ("mp4", "h264 hevc mjpeg vp9 av1 mpeg4"),
    "mov": ("mov", "h264 hevc mjpeg mpeg4"),
    "mkv": ("matroska", "h264 hevc mjpeg vp8 vp9 av1 mpeg4"),
    "webm": ("webm", "vp8 vp9 av1"),
    "avi": ("avi", "h264 mjpeg vp8 mpeg4"),
    "ts": ("mpegts", "h264 hevc mpeg4"),
    "flv": ("flv", "h264 hevc"),
}
PAIRS = [(ending, codec) for ending, (_, codecs) in CONTAINERS.items() for codec in codecs.split()]


def gray(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="gray")


@pytest.mark.parametrize(("ending", "codec"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_a_file_is_read_whole_and_starts_again_at_its_first_frame(ending: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{ending}"
    if codec == "av1":
        copied(av1((128, 96)), path)
    else:
        encoder, options = ENCODERS[codec]
        write(path, encoder, CONTAINERS[ending][0], frames=FRAMES, options=options)
    with open_source(SourceConfig(url=str(path))) as source:
        once = list(source.frames())
        assert source.description.startswith(f"{codec} 128x96")
    assert len(once) == FRAMES
    assert source.packets.broken == 0
    with open_source(SourceConfig(url=str(path), loop=True)) as source:
        twice = list(islice(source.frames(), 2 * FRAMES))
    assert [frame.pts for frame in twice] == 2 * [frame.pts for frame in once]
    assert all(np.array_equal(gray(ours), gray(theirs)) for ours, theirs in zip(twice, 2 * once, strict=True))


def folder_of(tmp_path: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (tmp_path / name.replace("_", ".")).write_bytes(data)
    return tmp_path


def test_a_folder_is_shown_in_the_order_of_its_names_at_the_wanted_rate(tmp_path: Path) -> None:
    small, large = jpegs(1, (64, 48))[0], jpegs(1, (320, 240))[0]
    folder = folder_of(tmp_path, b_jpg=large, a_jpg=small, c_JPEG=small, notes_txt=b"no picture")
    (tmp_path / "d.png").write_bytes(_png())
    with open_source(SourceConfig(url=str(folder), fps=2)) as source:
        frames = list(source.frames())
        assert source.description == "4 pictures 2 fps"
    assert [frame.width for frame in frames] == [64, 320, 64, 128]
    assert [float(frame.pts * frame.time_base) for frame in frames] == [0, 0.5, 1, 1.5]
    with open_source(SourceConfig(url=str(folder), loop=True)) as source:
        assert len(list(islice(source.frames(), 9))) == 9


def _png() -> bytes:
    encoder = av.CodecContext.create("png", "w")
    picture = next(pictures(1)).reformat(format="rgb24")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 128, 96, "rgb24", Fraction(1, 10)
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode()])


def test_a_broken_picture_is_counted_and_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, a_jpg=jpegs(1)[0], b_jpg=b"no picture", c_jpg=b"")
    with open_source(SourceConfig(url=str(folder))) as source:
        assert len(list(source.frames())) == 1
        assert source.packets.broken == 2


@pytest.mark.parametrize(("files", "reason"), [({}, Reason.NO_VIDEO), ({"a_jpg": b"none"}, Reason.CORRUPT)])
def test_a_folder_without_a_picture_says_so(files: dict[str, bytes], reason: Reason, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught, open_source(SourceConfig(url=str(folder_of(tmp_path, **files)))) as it:
        list(it.frames())
    assert caught.value.reason is reason


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    with pytest.raises(SourceError) as caught, open_source(SourceConfig(url=str(pipe))):
        pass
    assert caught.value.reason is Reason.REFUSED


@pytest.mark.parametrize("name", ["stage", "stage/"])
def test_a_scene_plays_for_ever(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = SourceConfig(url=f"scene://{name}")
    assert config.is_paced and not config.ends and not config.is_live
    with open_source(config) as source:
        assert len(list(islice(source.frames(), 205))) == 205  # 200 in a round


def test_an_unknown_scene_names_the_known_ones() -> None:
    with pytest.raises(SourceError, match="the scenes are street, stage, stop"):
        open_source(SourceConfig(url="scene://beach")).__enter__()
