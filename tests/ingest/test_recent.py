"""Clips are the camera's own packets: from a key frame on, of the time that was asked for, from bounded memory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ingest.clip import ClipError, ending_for, write_clip
from ingest.recent import RecentPackets, Span, VideoFormat, VideoPacket
from tests.ingest.clips import encoded

RATE = 10
STEADY = {"sc_threshold": "0"}  # x264 makes key frames where they are asked for only
PLENTY = 1 << 26


class Reel:
    """A recording whose packets are kept one by one; `now_ns` grows by one with each."""

    def __init__(self, video: bytes, keep_s: float = 100.0, most_bytes: int = PLENTY) -> None:
        self.recent = RecentPackets("gate", keep_s, most_bytes)
        self.got: list[tuple[str, VideoFormat, Sequence[VideoPacket]]] = []
        self.now_ns = 1
        self.open(video)

    def open(self, video: bytes) -> None:
        self.container = av.open(io.BytesIO(video))
        self.video = self.container.streams.video[0]
        self.packets = [packet for packet in self.container.demux(self.video) if packet.size]
        self.next = 0
        self.recent.begin(self.video, self.now_ns)

    @property
    def unit(self) -> float:
        assert self.video.time_base is not None
        return float(self.video.time_base)

    def play(self, count: int) -> None:
        for packet in self.packets[self.next : self.next + count]:
            self.now_ns += 1
            self.recent.keep(packet, self.now_ns)
        self.next += count

    def ask(self, key: str | None, at_s: float, before_s: float, after_s: float, longest_s: float = 60.0,
            arrival_ns: int | None = None) -> str | None:  # fmt: skip
        """Around a time of the recording, whose first frame is at 0."""
        first = self.packets[0].pts or 0
        at = first + round(at_s / self.unit)
        span = Span(at, self.now_ns if arrival_ns is None else arrival_ns, -before_s, after_s, longest_s)
        return self.recent.ask(key, span, lambda *told: self.got.append(told))


def shown(path: Path) -> tuple[list[np.ndarray[Any, Any]], Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
        return frames, (container.format.name, stream.codec_context.name, len(container.streams))


def decoded(video: bytes) -> list[np.ndarray[Any, Any]]:
    with av.open(io.BytesIO(video)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


ENCODINGS: list[dict[str, Any]] = [
    {"codec": "libx264", "format": "mpegts"},
    {"codec": "libx264", "format": "mp4"},
    {"codec": "libx264", "format": "matroska", "options": {"bf": "3"}},
    {"codec": "libx265", "format": "mpegts", "options": {"x265-params": "log-level=none"}},
    {"codec": "libvpx-vp9", "format": "matroska", "options": {"deadline": "realtime", "cpu-used": "8"}},
    {"codec": "libvpx", "format": "matroska", "options": {"deadline": "realtime", "cpu-used": "8"}},
    {"codec": "mpeg4", "format": "mp4"},
    {"codec": "mjpeg", "format": "matroska"},
]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda one: f"{one['codec']} in {one['format']}")
def test_a_clip_plays_from_a_key_frame_with_the_cameras_own_pictures(encoding: dict[str, Any], tmp_path: Path) -> None:
    video = encoded(frames=60, rate=RATE, key_every=10, **encoding)
    reel = Reel(video)
    reel.play(35)
    assert reel.ask("c", at_s=3.0, before_s=1.5, after_s=1.0) == "c"
    assert reel.got == []
    reel.play(25)
    ((key, told, packets),) = reel.got
    assert key == "c" and packets[0].is_key
    path = tmp_path / f"clip.{ending_for(told.codec)}"
    write_clip(path, told, packets)
    frames, (container, _, streams) = shown(path)
    assert ("mp4" in container, streams) == (encoding["codec"] not in ("libvpx", "mjpeg"), 1)
    original = decoded(video)
    first = next(n for n, picture in enumerate(original) if np.array_equal(picture, frames[0]))
    assert first <= 15 < first + 11  # the key frame before, at most a group of pictures earlier
    last = first + len(frames)
    assert 37 <= last <= 43  # it is cut by the order of decoding
    for picture, its in zip(original[first : last - 3], frames[:-3], strict=True):
        assert np.array_equal(picture, its)


def test_an_mp4_can_be_played_before_it_has_all_come(tmp_path: Path) -> None:
    reel = Reel(encoded(frames=30, rate=RATE, options=STEADY))
    reel.play(30)
    assert reel.ask("c", 1.0, 1.0, 1.0) == "c"  # it was over when it was asked for
    ((_, told, packets),) = reel.got
    write_clip(tmp_path / "clip.mp4", told, packets)
    data = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_events_share_a_clip_while_it_is_not_over_and_not_too_long() -> None:
    reel = Reel(encoded(frames=100, rate=RATE, options=STEADY))
    reel.play(20)
    assert reel.ask(None, 2.0, 1.0, 1.0) is None
    assert reel.ask("a", 2.0, 1.0, 1.0) == "a"
    reel.play(5)
    assert reel.ask("b", 2.5, 1.0, 1.0) == "a"
    assert reel.ask(None, 2.5, 1.0, 1.0) == "a"
    reel.play(11)
    assert [len(packets) for _, _, packets in reel.got] == [25]  # of 3.4 s, from the key frame at 1.0 to 3.5
    assert reel.ask("c", 3.5, 1.0, 1.0) == "c"
    assert reel.ask("d", 4.0, 1.0, 1.0, longest_s=2.4) == "d"
    reel.play(60)
    assert [key for key, _, _ in reel.got] == ["a", "c", "d"]


def test_what_a_connection_leaves_unfinished_is_delivered_as_it_is() -> None:
    reel = Reel(encoded(frames=30, rate=RATE, options=STEADY))
    reel.play(20)
    reel.ask("c", 1.9, 1.0, 50.0)
    reel.recent.end()
    ((_, _, packets),) = reel.got
    assert len(packets) == 20  # from the key frame at 0
    assert reel.recent.bytes == 0
    assert reel.ask("d", 1.9, 1.0, 1.0) is None


def test_a_frame_of_an_earlier_connection_gets_no_clip_of_the_next() -> None:
    reel = Reel(encoded(frames=30, rate=RATE, options=STEADY))
    reel.play(20)
    earlier = reel.now_ns
    reel.now_ns += 10
    reel.open(encoded(frames=30, rate=RATE, options=STEADY))
    reel.play(5)
    assert reel.ask("c", 1.9, 1.0, 1.0, arrival_ns=earlier) is None
    assert reel.ask("c", 0.4, 1.0, 1.0) == "c"


@pytest.mark.parametrize("first_pts", [0, 1000])
def test_a_jump_in_time_ends_clips_and_starts_anew(first_pts: int) -> None:
    """As a file does that starts again, and a camera whose clock is set."""
    reel = Reel(encoded(frames=20, rate=RATE, first_pts=500, options=STEADY))
    reel.play(20)
    reel.ask("c", 1.9, 1.0, 50.0)
    before_ns = reel.now_ns
    other = av.open(io.BytesIO(encoded(frames=20, rate=RATE, first_pts=first_pts)))
    packets = [packet for packet in other.demux(video=0) if packet.size]
    for packet in packets:
        reel.now_ns += 1
        reel.recent.keep(packet, reel.now_ns)
    ((_, _, packets_of_clip),) = reel.got
    assert len(packets_of_clip) == 20
    assert reel.recent.bytes == sum(packet.size for packet in packets)
    assert reel.ask("d", 1.9, 1.0, 1.0, arrival_ns=before_ns) is None


def test_only_the_last_seconds_are_held_from_a_key_frame_on() -> None:
    reel = Reel(encoded(frames=200, rate=RATE, key_every=10, options=STEADY), keep_s=3.0)
    for _ in range(20):
        reel.play(10)
        held = list(reel.recent._packets)
        assert held[0].is_key
        assert len(held) <= 30 + 2 * 10
    assert reel.recent.bytes == sum(len(packet.data) for packet in held)


def test_no_more_bytes_are_held_than_may_be_and_clips_end_early() -> None:
    video = encoded(frames=200, rate=RATE, key_every=10, options=STEADY)
    limit = len(video) // 5
    reel = Reel(video, most_bytes=limit)
    reel.play(10)
    reel.ask("c", 0.9, 1.0, 19.0)
    for _ in range(19):
        reel.play(10)
        assert reel.recent.bytes <= limit
    ((_, _, packets),) = reel.got
    assert packets[0].is_key and 20 < len(packets) < 60


def test_a_group_of_pictures_that_is_too_large_is_let_go() -> None:
    video = encoded(frames=60, rate=RATE, key_every=30, options=STEADY)
    reel = Reel(video, most_bytes=len(video) // 6)
    reel.play(60)
    assert reel.recent.bytes <= len(video) // 6


def test_video_that_ffmpeg_does_not_write_costs_the_clips_and_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    reel = Reel(encoded(frames=30, rate=RATE))

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("'nut' format does not support 'strange' codec")

    monkeypatch.setattr("ingest.recent.av.open", refuse)
    reel.play(30)
    assert reel.recent.codec is None and reel.recent.bytes == 0
    assert reel.ask("c", 0.0, 1.0, 1.0) is None


def test_without_packets_there_is_no_clip(tmp_path: Path) -> None:
    told = VideoFormat("h264", Fraction(1, 90000), b"")
    with pytest.raises(ClipError, match=r"clips\.memory"):
        write_clip(tmp_path / "clip.mp4", told, [])


def test_what_ffmpeg_refuses_and_what_the_disk_refuses_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ClipError):
        write_clip(tmp_path / "x.mp4", VideoFormat("h264", Fraction(1, 9), b"x"), [VideoPacket(b"x", 0, 0, 1, True)])
    reel = Reel(encoded(frames=30, rate=RATE, options=STEADY))
    reel.play(30)
    reel.ask("c", 1.0, 1.0, 1.0)
    ((_, told, packets),) = reel.got
    with pytest.raises(OSError, match="No such file"):
        write_clip(tmp_path / "nowhere" / "clip.mp4", told, packets)
