"""What is not wanted is not decoded, and what is wanted always is, whatever the camera's key frames do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ingest.clock import NS
from ingest.config import SourceConfig
from ingest.sampling import Sampler
from ingest.sources import open_source
from tests.ingest.clips import write

LOW_DELAY = {"preset": "ultrafast", "tune": "zerolatency"}
REORDERED = {"preset": "ultrafast", "bf": "2", "x264-params": "scenecut=0"}
SECONDS = 20


def clip(path: Path, rate: int = 10, key_every: int = 10, codec: str = "libx264", options: dict[str, str] | None = None,
         **others: int) -> Path:  # fmt: skip
    write(path, codec, frames=rate * SECONDS, rate=rate, key_every=key_every,
          options=(LOW_DELAY if codec == "libx264" else {}) if options is None else options,
          format={".ts": "mpegts", ".mkv": "matroska", ".avi": "avi"}[path.suffix], **others)  # fmt: skip
    return path


def read(path: Path, fps: float | None) -> tuple[list[float], int, int]:
    """Seconds of the frames that were decoded, how many were taken of them, and the packets that were skipped."""
    sampler = Sampler(fps)
    with open_source(SourceConfig(url=str(path), fps=fps)) as source:
        seconds = [float(frame.pts * frame.time_base) for frame in source.frames()]
        taken = sum(sampler.takes(round((second - seconds[0]) * NS)) for second in seconds)
        return seconds, taken, source.packets.skipped


def test_one_frame_a_second_takes_key_frames_alone(tmp_path: Path) -> None:
    seconds, taken, skipped = read(clip(tmp_path / "clip.ts"), 1)
    assert taken == SECONDS
    assert len(seconds) <= 41 + (SECONDS - 4)  # all of them in the first four seconds, then one a second
    assert len(seconds) + skipped + 9 >= 10 * SECONDS  # the last second's may be kept, neither decoded nor passed over


def test_their_pictures_are_the_same_as_when_everything_is_decoded(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.ts")
    with open_source(SourceConfig(url=str(path))) as whole, open_source(SourceConfig(url=str(path), fps=1)) as part:
        pictures = {frame.pts: frame.to_ndarray(format="gray") for frame in whole.frames()}
        for frame in part.frames():
            assert np.array_equal(frame.to_ndarray(format="gray"), pictures[frame.pts])


@pytest.mark.parametrize("codec", ["libx265", "mpeg4", "mjpeg", "libvpx"])
def test_any_codec_serves_as_many_frames_as_are_wanted(codec: str, tmp_path: Path) -> None:
    options = {"libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"},
               "libvpx": {"deadline": "realtime", "cpu-used": "8"}}.get(codec)  # fmt: skip
    _, taken, skipped = read(clip(tmp_path / "clip.mkv", codec=codec, options=options), 1)
    assert taken == SECONDS
    assert skipped > 100


@pytest.mark.parametrize("fps", [2.0, 3.0, 5.0])
def test_motion_jpeg_is_decoded_as_often_as_wanted(fps: float, tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mkv", rate=20, codec="mjpeg")
    seconds, taken, skipped = read(path, fps)
    assert abs(taken - fps * SECONDS) <= 1
    assert len(seconds) < 1.35 * fps * SECONDS + 10
    assert skipped > 200


@pytest.mark.parametrize(
    ("key_every", "options", "fps"),
    [
        (10, None, 2.0),
        (15, None, 1.0),
        (250, None, 1.0),
        (10, {**LOW_DELAY, "x264-params": "intra-refresh=1"}, 1.0),
        (10, None, None),
    ],
    ids=["too rare for 2", "too rare for 1", "almost none", "renewed bit by bit", "all are wanted"],
)
def test_everything_is_decoded_where_key_frames_will_not_do(
    key_every: int, options: dict[str, str] | None, fps: float | None, tmp_path: Path
) -> None:
    seconds, _, skipped = read(clip(tmp_path / "clip.ts", key_every=key_every, options=options), fps)
    assert (len(seconds), skipped) == (10 * SECONDS, 0)


H265_REORDERED = {"preset": "ultrafast", "x265-params": "log-level=none:bframes=2:b-adapt=0"}


@pytest.mark.parametrize(("codec", "options"), [("libx264", REORDERED), ("libx265", H265_REORDERED)])
def test_pictures_that_no_other_needs_are_left_out_where_the_others_will_do(
    codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = clip(tmp_path / "clip.mkv", rate=20, codec=codec, options=options)
    seconds, taken, skipped = read(path, 5)
    assert abs(taken - 5 * SECONDS) <= 1
    assert max(np.diff(seconds)) <= 0.2005
    assert skipped > 90 and len(seconds) + skipped == pytest.approx(20 * SECONDS, abs=4)
    with open_source(SourceConfig(url=str(path))) as whole, open_source(SourceConfig(url=str(path), fps=5)) as part:
        pictures = {frame.pts: frame.to_ndarray(format="gray") for frame in whole.frames()}
        for frame in part.frames():
            assert np.array_equal(frame.to_ndarray(format="gray"), pictures[frame.pts])


def test_all_are_decoded_again_when_the_others_become_rare(tmp_path: Path) -> None:
    often = clip(tmp_path / "often.ts", rate=20, options=REORDERED)
    rarely = clip(
        tmp_path / "rarely.ts", rate=20, options={**REORDERED, "bf": "8"}, key_every=40, first_pts=20 * SECONDS
    )
    both = tmp_path / "both.ts"
    both.write_bytes(often.read_bytes() + rarely.read_bytes())
    seconds, taken, skipped = read(both, 5)
    assert skipped > 90
    assert taken >= 10 * SECONDS - 2
    late = [second for second in seconds if second > seconds[0] + SECONDS + 1]
    assert max(np.diff(late)) <= 0.0505


def test_no_frame_is_missing_when_key_frames_become_rare(tmp_path: Path) -> None:
    """The camera goes over to "smart" coding after ten seconds."""
    often, rarely = clip(tmp_path / "often.ts"), clip(tmp_path / "rarely.ts", key_every=150, first_pts=10 * SECONDS)
    both = tmp_path / "both.ts"
    both.write_bytes(often.read_bytes() + rarely.read_bytes())
    seconds, taken, skipped = read(both, 1)
    assert skipped > 100
    assert taken >= 2 * SECONDS - 1
    assert max(np.diff(seconds)) <= 1.001


def test_a_loop_starts_over(tmp_path: Path) -> None:
    path = clip(tmp_path / "clip.mkv")
    with open_source(SourceConfig(url=str(path), fps=1, loop=True)) as source:
        seconds = []
        for frame in source.frames():
            seconds.append(float(frame.pts * frame.time_base))
            if seconds.count(0.0) == 4:
                break
    assert seconds[-1] == 0.0
    assert 3 * SECONDS <= len(seconds) < 3 * 65


def test_frames_keep_their_times_in_a_format_that_tells_none(tmp_path: Path) -> None:
    """AVI: when a frame is shown follows from how many were decoded before it."""
    path = clip(tmp_path / "clip.avi", rate=20, options=REORDERED)
    with open_source(SourceConfig(url=str(path), fps=5)) as source:
        times = [frame.pts for frame in source.frames()]
    with open_source(SourceConfig(url=str(path))) as source:
        assert times == [frame.pts for frame in source.frames()]
