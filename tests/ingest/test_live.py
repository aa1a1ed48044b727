"""A camera's own packets reach who watches: playable from the first on, in order, from bounded memory."""

from __future__ import annotations

import io
import threading
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.annexb import look
from ingest.live import KEY_WITHIN_S, LivePacket, LivePackets
from tests.ingest.clips import encoded

NS = 1_000_000_000
EVENLY = {"sc_threshold": "0"}  # key frames are where they are asked for


class Browser:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.packets: list[LivePacket] = []
        self.backlog: list[LivePacket] = []
        self.fault: str | None = None

    def packet(self, packet: LivePacket, backlog: bool) -> None:
        (self.backlog if backlog else self.packets).append(packet)

    def unplayable(self, why: str) -> None:
        assert self.fault is None, "told once"
        self.fault = why

    def pictures(self) -> list[av.VideoFrame]:
        """What a decoder makes of all of it that knows nothing else."""
        told = [*self.backlog, *self.packets]
        decoder = av.CodecContext.create(told[0].codec, "r")
        frames: list[av.VideoFrame] = []
        for one in told:
            packet = av.Packet(one.data)
            packet.pts = one.pts
            frames += decoder.decode(packet)
        return frames + decoder.decode(None)


class Camera:
    """Plays a recording to a stream's live packets, one packet after the other."""

    def __init__(self, recording: bytes, live: LivePackets) -> None:
        self.live = live
        self._container = av.open(io.BytesIO(recording))
        self.video = self._container.streams.video[0]
        self._packets = [packet for packet in self._container.demux(self.video) if packet.size]
        self.count = len(self._packets)
        live.begin(self.video, 0)
        live.begins(7)

    def send(self, count: int | None = None) -> None:
        now, self._packets = self._packets[:count], self._packets[count:] if count else []
        for packet in now:
            self.live.keep(packet, 1)


class CameraInParts(Camera):
    """Repeats its parameter sets before each slice of a key frame, which FFmpeg then delivers in as many packets."""

    def __init__(self, live: LivePackets) -> None:
        options = {**EVENLY, "x264-params": "slices=2:sliced-threads=0"}
        super().__init__(encoded(options=options, format="mpegts", frames=25, key_every=10), live)
        self._packets = [part for packet in self._packets for part in self._parts(packet)]

    def _parts(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        if not packet.is_keyframe:
            return [packet]
        data = bytes(packet)
        unit = look(data)
        second = data.index(b"\x00\x00\x01\x65", unit.slices_at + 4)
        parts = [av.Packet(data[:second]), av.Packet(unit.parameters + data[second:])]
        for part in parts:
            part.pts, part.dts, part.is_keyframe = packet.pts, packet.dts, True
        return parts


def test_a_key_frame_that_comes_in_parts_is_passed_on_whole() -> None:
    live, browser = LivePackets(), Browser()
    camera = CameraInParts(live)
    camera.send(14)  # two key frames, in four packets, and eleven others

    live.watch(browser)
    camera.send()

    told = [*browser.backlog, *browser.packets]
    assert [one.is_key for one in told] == [True, *[False] * 9, True, *[False] * 4]
    assert all(one.data.count(b"\x00\x00\x01\x65") == 2 for one in told if one.is_key)
    pictures = browser.pictures()
    assert len(pictures) == 15
    assert not any(picture.is_corrupt for picture in pictures)


def test_who_watches_when_parts_are_first_seen_waits_for_the_next_key_frame() -> None:
    live, browser = LivePackets(), Browser()
    camera = CameraInParts(live)
    live.watch(browser)
    camera.send()
    assert [one.is_key for one in browser.packets] == [True, True, *[False] * 9, True, *[False] * 4]
    assert [one.data.count(b"\x00\x00\x01\x65") for one in browser.packets if one.is_key] == [1, 2, 2]


@pytest.mark.parametrize("container", ["mpegts", "mp4", "matroska", "flv"])
def test_a_browser_gets_all_from_the_last_key_frame_on_whatever_container_it_came_in(container: str) -> None:
    live, browser = LivePackets(), Browser()
    camera = Camera(encoded(options=EVENLY, format=container, frames=25, key_every=10), live)
    camera.send(14)

    live.watch(browser)
    camera.send()

    assert len(browser.backlog) == 4 and len(browser.packets) == 11  # from the 10th on
    assert [one.is_key for one in (*browser.backlog, *browser.packets)] == [True, *[False] * 9, True, *[False] * 4]
    assert all(look(one.data).parameters for one in (*browser.backlog, *browser.packets) if one.is_key)
    pictures = browser.pictures()
    assert len(pictures) == 15
    assert [picture.pts for picture in pictures] == [one.pts for one in (*browser.backlog, *browser.packets)]
    assert {(one.session, one.time_base) for one in browser.packets} == {(7, camera.video.time_base)}


def test_the_decoder_still_gets_the_packets_as_they_were() -> None:
    live = LivePackets()
    with av.open(io.BytesIO(encoded(options=EVENLY, format="mp4", frames=12, key_every=10))) as container:
        video = container.streams.video[0]
        live.begin(video, 0)
        live.watch(Browser())
        frames = 0
        for packet in container.demux(video):
            live.keep(packet, 1)
            frames += len(video.codec_context.decode(packet))
    assert frames == 12


def test_vp8_is_passed_on_as_it_is() -> None:
    live, browser = LivePackets(), Browser()
    camera = Camera(encoded(codec="libvpx", format="webm", frames=5), live)
    live.watch(browser)
    camera.send()
    assert [one.codec for one in browser.packets] == ["vp8"] * 5 and len(browser.pictures()) == 5


def test_parameter_sets_that_a_camera_tells_only_at_the_beginning_are_in_front_of_each_key_frame() -> None:
    """As with many RTSP cameras: they are in the session's description, and not among its packets."""
    with av.open(io.BytesIO(encoded(options=EVENLY, frames=12, key_every=6))) as container:
        video = container.streams.video[0]
        packets = [packet for packet in container.demux(video) if packet.size]
        parameters = look(bytes(packets[0])).parameters
        live, browser = LivePackets(), Browser()
        context = SimpleNamespace(
            codec=video.codec_context.codec, extradata=parameters, profile="High", pix_fmt="yuv420p", has_b_frames=False
        )
        live.begin(SimpleNamespace(codec_context=context, time_base=video.time_base), 0)
        live.watch(browser)
        for packet in packets:
            bare = av.Packet(
                b"".join(b"\0\0\0\1" + unit for unit in _units(bytes(packet)) if unit[0] & 31 not in (7, 8))
            )
            bare.pts, bare.is_keyframe = packet.pts, packet.is_keyframe
            live.keep(bare, 1)
    keys = [one for one in browser.packets if one.is_key]
    assert len(keys) == 2 and all(one.data.startswith(parameters) for one in keys)
    assert len(browser.pictures()) == 12


def _units(data: bytes) -> list[bytes]:
    return [unit.rstrip(b"\0") for unit in data.split(b"\0\0\1")[1:]]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"codec": "mpeg4"}, "mpeg4"),
        ({"codec": "mjpeg", "format": "matroska"}, "mjpeg"),
        ({"options": {"bf": "2", "b_strategy": "0"}}, "B-frames"),
        ({"options": {"profile": "high422"}, "pixels": "yuv422p"}, "4:2:2"),
    ],
)
def test_what_browsers_do_not_play_is_refused_with_the_reason_and_not_kept(settings: dict[str, Any], why: str) -> None:
    live, before, after = LivePackets(), Browser(), Browser()
    pixels = settings.pop("pixels", None)
    recording = encoded(**settings) if pixels is None else _of_pixels(pixels)
    camera = Camera(recording, live)
    live.watch(before)
    camera.send()
    live.watch(after)
    assert before.fault is not None and why in before.fault and after.fault == before.fault
    assert live.bytes == 0


def _of_pixels(pixels: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        for number in range(10):
            frame = av.VideoFrame(64, 64, pixels)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def test_b_frames_are_noticed_by_their_times_where_nothing_else_tells_of_them() -> None:
    live, browser = LivePackets(), Browser()
    with av.open(io.BytesIO(encoded(options={"bf": "2", "b_strategy": "0"}))) as container:
        video = container.streams.video[0]
        context = SimpleNamespace(
            codec=video.codec_context.codec, extradata=b"", profile=None, pix_fmt=None, has_b_frames=False
        )
        live.begin(SimpleNamespace(codec_context=context, time_base=video.time_base), 0)
        live.watch(browser)
        for packet in container.demux(video):
            live.keep(packet, 1)
    assert browser.fault is not None and "B-frames" in browser.fault


def test_a_new_connection_begins_with_a_key_frame_and_its_own_session() -> None:
    live, browser = LivePackets(), Browser()
    Camera(encoded(options=EVENLY, frames=15, key_every=10), live).send(13)
    live.watch(browser)
    live.end()

    camera = Camera(encoded(options=EVENLY, frames=15, key_every=10, first_pts=3), live)
    live.begins(8)
    camera.send()

    assert {one.session for one in browser.backlog} == {7}
    assert browser.packets[0].is_key and {one.session for one in browser.packets} == {8} and len(browser.packets) == 15


def test_what_is_kept_has_a_bound_and_who_watches_misses_nothing_of_it() -> None:
    recording = encoded(options=EVENLY, frames=30, key_every=20)
    live, browser, late = LivePackets(most_bytes=len(recording) // 4), Browser(), Browser()
    camera = Camera(recording, live)
    live.watch(browser)
    for _ in range(20):
        camera.send(1)
        assert live.bytes <= len(recording) // 4
    live.watch(late)
    assert live.bytes == 0 and not late.backlog  # the group became too large: the next key frame is waited for
    camera.send()
    assert len(browser.packets) == 20 and late.packets[0].is_key


def test_a_camera_without_key_frames_is_given_up_after_a_while() -> None:
    live, browser = LivePackets(), Browser()
    camera = Camera(encoded(options=EVENLY, frames=20, key_every=20), live)
    packets, began = camera._packets[1:], 1000 * NS  # it was away when somebody came
    live.watch(browser)
    for number, packet in enumerate(packets):
        live.keep(packet, began + round(number * KEY_WITHIN_S * NS / (len(packets) - 1)))
    assert browser.fault is None
    live.keep(packets[-1], began + round(KEY_WITHIN_S * NS) + NS)
    assert browser.fault is not None and "key frame" in browser.fault


def test_who_sends_by_webrtc_is_asked_for_a_key_frame_when_somebody_comes_and_nothing_is_kept() -> None:
    live, browser, wants_key = LivePackets(), Browser(), threading.Event()
    live.begin_rtp("vp8", wants_key)
    live.begins(1)
    live.watch(browser)
    assert wants_key.is_set() and live.comes_from(wants_key)

    packet = av.Packet(b"\0key")
    packet.pts, packet.is_keyframe = 90, True
    live.keep(packet, 1)
    assert [(one.codec, one.pts, one.time_base) for one in browser.packets] == [("vp8", 90, Fraction(1, 90_000))]

    wants_key.clear()
    live.watch(late := Browser())
    assert not wants_key.is_set() and len(late.backlog) == 1


def test_a_damaged_packet_costs_who_watches_the_pictures_up_to_the_next_key_frame_and_the_reader_nothing() -> None:
    live, browser = LivePackets(), Browser()
    camera = Camera(encoded(options=EVENLY, format="mp4", frames=20, key_every=10), live)
    live.watch(browser)
    damaged = av.Packet(b"\xff\xff\xff\xff" + bytes(camera._packets[5])[4:])  # longer than it is
    damaged.pts, damaged.is_keyframe = camera._packets[5].pts, False
    camera._packets[5] = damaged
    camera.send()
    assert [one.is_key for one in browser.packets] == [True, *[False] * 4, True, *[False] * 9]
    assert len(browser.pictures()) == 15


@given(st.binary(max_size=64), st.integers(0, 8))
def test_whatever_is_in_a_packet_it_is_looked_at(data: bytes, kind: int) -> None:
    for each in (data, b"\0\0\1" + bytes([kind]) + data, data + b"\0\0\1"):
        found = look(each)
        assert look(found.parameters).parameters == found.parameters
