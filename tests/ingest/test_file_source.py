"""Video files as sources: exact at their ends, plain about what is wrong with them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ingest.clock import NS, MediaClock
from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.scene import SCENES, Scene, encode, encoded, photo_path, view
from ingest.sources import open_source
from tests.ingest.clips import write

TINY = Scene("tiny", "bus.jpg", 10, 2, 128, 96, 0.8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "tiny.mp4"
    encode(TINY, path)
    return path


def read(path: Path, limit: int | None = None, loop: bool = False) -> list[av.VideoFrame]:
    with open_source(SourceConfig(url=str(path), loop=loop)) as source:
        return list(islice(source.frames(), limit))


def refusal(path: Path) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(path)
    return caught.value


def luma(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray(format="gray").astype(np.int16)


def test_a_file_gives_each_of_its_frames_once(tiny: Path) -> None:
    frames = read(tiny)
    assert len(frames) == TINY.fps * TINY.seconds
    assert {(frame.width, frame.height) for frame in frames} == {(TINY.width, TINY.height)}


def test_a_scenes_timestamps_are_exact(tiny: Path) -> None:
    seconds = [float(frame.pts * frame.time_base) for frame in read(tiny)]
    assert seconds == pytest.approx([n / TINY.fps for n in range(TINY.fps * TINY.seconds)])


def test_an_avis_frames_are_evenly_spaced_although_it_tells_only_when_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "b-frames.avi"
    write(path, format="avi", options={"bf": "2", "b-adapt": "0"}, frames=30)
    clock = MediaClock(10.0)
    times = [clock.read(frame.pts, frame.time_base) for frame in read(path)]
    assert times == [n * NS // 10 for n in range(30)]


def test_a_file_says_how_many_frames_it_has(tiny: Path, tmp_path: Path) -> None:
    write(tmp_path / "tiny.mkv", format="matroska", frames=30)
    for path, frames in ((tiny, 20), (tmp_path / "tiny.mkv", 30)):
        with open_source(SourceConfig(url=str(path))) as source:
            assert source.frame_count == frames  # type: ignore[attr-defined]


def test_a_file_says_what_it_is(tiny: Path) -> None:
    with open_source(SourceConfig(url=str(tiny))) as source:
        assert source.description == "h264 128x96 10 fps"
        assert source.frame_rate == 10
        next(iter(source.frames()))
        assert source.decode_s > 0


def test_a_file_url_is_a_file(tiny: Path) -> None:
    config = SourceConfig(url=f"file://{tiny}")
    assert config.is_file
    with open_source(config) as source:
        assert next(iter(source.frames())).width == TINY.width


def test_a_looping_file_goes_on_past_its_end(tiny: Path) -> None:
    count = TINY.fps * TINY.seconds
    frames = read(tiny, limit=2 * count + 5, loop=True)
    assert len(frames) == 2 * count + 5
    for later, earlier in ((count, 0), (2 * count, 0), (2 * count - 1, count - 1)):
        assert frames[later].pts == frames[earlier].pts
        assert np.array_equal(luma(frames[later]), luma(frames[earlier]))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere.mp4").reason is Reason.NOT_FOUND


def test_a_text_file_called_mp4_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("This is no video, whatever its name says.\n" * 100)
    assert refusal(path).reason is Reason.CORRUPT


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert refusal(path).reason in (Reason.CORRUPT, Reason.NO_VIDEO)


def test_a_file_without_a_picture_has_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    assert refusal(path).reason is Reason.NO_VIDEO


def test_a_truncated_file_yields_the_frames_before_the_cut(tiny: Path, tmp_path: Path) -> None:
    """As a recording that was cut off: MPEG-TS, readable without its end."""
    whole, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    with av.open(str(tiny)) as source, av.open(str(whole), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    intact, frames = read(whole), read(cut)
    assert len(intact) == TINY.fps * TINY.seconds
    assert 0 < len(frames) < len(intact)
    # The last one may be cut in its middle.
    for ours, theirs in zip(frames[:-1], intact, strict=False):
        assert np.array_equal(luma(ours), luma(theirs))


def test_an_mp4_with_its_index_in_front_yields_the_frames_before_the_cut(tiny: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(str(tiny)) as source, av.open(str(whole), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 6 // 10])
    with open_source(SourceConfig(url=str(cut))) as source:
        frames = []
        try:
            for frame in source.frames():
                frames.append(frame)
        except SourceError as error:
            assert error.reason in (Reason.CORRUPT, Reason.LOST)
    assert 0 < len(frames) < TINY.fps * TINY.seconds


def test_opening_twice_is_two_connections(tiny: Path) -> None:
    config = SourceConfig(url=str(tiny))
    with open_source(config) as first, open_source(config) as second:
        ours, theirs = first.frames(), second.frames()
        assert next(ours).pts == next(theirs).pts
        assert next(ours).pts == next(theirs).pts


@pytest.mark.parametrize("url", ["RTSP://127.0.0.1:1/x", "Rtsps://127.0.0.1:1/x"])
def test_a_schemes_case_does_not_matter(url: str) -> None:
    config = SourceConfig(url=url, connect_timeout=2)
    assert not config.is_file
    open_source(config)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'gopher' are not supported; use one of file, rtsp, rtsps"):
        SourceConfig(url="gopher://camera/1")


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_view_ends_where_it_began(scene: Scene) -> None:
    photo = cv2.imread(str(photo_path(scene.photo)))
    assert np.array_equal(view(scene, photo, 0), view(scene, photo, scene.seconds))
    assert view(scene, photo, 0).shape == (scene.height, scene.width, 3)


def test_a_view_moves() -> None:
    photo = cv2.imread(str(photo_path(TINY.photo)))
    assert not np.array_equal(view(TINY, photo, 0), view(TINY, photo, TINY.seconds / 3))


def test_a_scene_is_encoded_once(tmp_path: Path) -> None:
    path = encoded(TINY, tmp_path / "made")
    made_at = path.stat().st_mtime_ns
    assert encoded(TINY, tmp_path / "made") == path
    assert path.stat().st_mtime_ns == made_at
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_photograph_that_is_not_there_is_not_found() -> None:
    with pytest.raises(SourceError) as caught:
        photo_path("nobody.jpg")
    assert caught.value.reason is Reason.NOT_FOUND
