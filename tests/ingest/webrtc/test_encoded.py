"""Encoded pictures wait in a bounded queue, and decoding begins at key frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import pytest
from aiortc.codecs.vpx import Vp8Encoder

from ingest.activity import Activity
from ingest.live import LivePacket, LivePackets
from ingest.webrtc.encoded import DECODE_WITHIN_S, MAX_WAITING, DecoderWatch, EncodedQueue, starts_afresh


@dataclass(frozen=True)
class Codec:
    name: str


@dataclass(frozen=True)
class Encoded:
    data: bytes
    timestamp: int = 0


STREAM = 2
VP8 = Codec("VP8")
KEY, DELTA = Encoded(b"\x10\x02\x00"), Encoded(b"\x11\x02\x00")


@pytest.fixture
def wanted() -> threading.Event:
    return threading.Event()


@pytest.fixture
def activity() -> Iterator[Activity]:
    activity = Activity.create(3)
    yield activity
    activity.close()


@pytest.fixture
def queue(wanted: threading.Event, activity: Activity) -> EncodedQueue:
    return EncodedQueue(wanted, DecoderWatch(activity, STREAM))


def test_decoding_begins_at_a_key_frame_which_is_asked_for(queue: EncodedQueue, wanted: threading.Event) -> None:
    queue.put((VP8, DELTA))
    assert queue.empty()
    assert wanted.is_set()
    wanted.clear()
    queue.put((VP8, DELTA))
    assert not wanted.is_set(), "once in a while is enough"
    queue.put((VP8, KEY))
    queue.put((VP8, DELTA))
    assert [queue.get()[1], queue.get()[1]] == [KEY, DELTA]
    assert queue.skipped == 2


def test_a_decoder_that_is_too_slow_starts_again_at_a_key_frame(queue: EncodedQueue, wanted: threading.Event) -> None:
    queue.put((VP8, KEY))
    for _ in range(MAX_WAITING - 1):
        queue.put((VP8, DELTA))
    assert queue.qsize() == MAX_WAITING
    assert not wanted.is_set()
    queue.put((VP8, DELTA))
    assert queue.qsize() == 0
    assert wanted.is_set()
    assert queue.skipped == MAX_WAITING + 1
    queue.put((VP8, KEY))
    assert queue.qsize() == 1


def test_the_end_does_not_wait_for_what_was_to_be_decoded(queue: EncodedQueue) -> None:
    queue.put((VP8, KEY))
    queue.put((VP8, DELTA))
    queue.put(None)
    assert queue.get() is None


def test_how_long_decoding_took_is_known(queue: EncodedQueue) -> None:
    queue.put((VP8, KEY))
    queue.put((VP8, DELTA))
    queue.get()
    queue.get()
    assert queue.decode_s > 0


def test_a_decoder_that_hangs_or_crashes_is_its_streams(queue: EncodedQueue, activity: Activity) -> None:
    queue.put((VP8, KEY))
    queue.put((VP8, DELTA))
    queue.get()
    now_ns, me = time.monotonic_ns(), threading.get_ident()
    assert activity.of_thread(me) == STREAM
    assert activity.overdue(now_ns) == []
    assert activity.overdue(now_ns + int(DECODE_WITHIN_S * 1.1e9)) == [STREAM]
    queue.get()
    queue.put(None)
    assert queue.get() is None
    assert activity.overdue(now_ns + int(60e9)) == []
    assert activity.of_thread(me) is None, "another thread may have its name by now"


def pictures() -> list[av.VideoFrame]:
    made = []
    for number in range(8):
        picture = av.VideoFrame.from_ndarray(np.full((96, 64), 20 * number, np.uint8), "yuv420p")
        picture.pts, picture.time_base = number * 3000, Fraction(1, 90000)
        made.append(picture)
    return made


def test_key_frames_of_a_real_vp8_encoder_are_known() -> None:
    encoder = Vp8Encoder()
    found = []
    for number, picture in enumerate(pictures()):
        payloads, _ = encoder.encode(picture, force_keyframe=number == 5)
        found.append(starts_afresh("VP8", b"".join(payload[4 if payload[0] & 0x80 else 1 :] for payload in payloads)))
    assert found == [True, False, False, False, False, True, False, False]


def test_key_frames_of_a_real_h264_encoder_are_known() -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 64, "yuv420p", Fraction(1, 25)
    encoder.options = {"tune": "zerolatency", "g": "4", "x264-params": "annexb=1:repeat-headers=1:scenecut=0"}
    found = [(packet.is_keyframe, starts_afresh("H264", bytes(packet)))
             for picture in [*pictures(), None] for packet in encoder.encode(picture)]  # fmt: skip
    assert len(found) == 8
    assert [key for key, _ in found] == [ours for _, ours in found]
    assert sum(key for key, _ in found) >= 2


@pytest.mark.parametrize("codec", ["VP8", "H264"])
@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x01", b"\xff" * 9])
def test_rubbish_is_no_key_frame_unless_it_says_so(codec: str, data: bytes) -> None:
    assert starts_afresh(codec, data) == (codec == "VP8" and bool(data) and not data[0] & 1)


class Browser:
    """Watches a stream's packets."""

    def __init__(self) -> None:
        self.packets: list[LivePacket] = []

    def packet(self, packet: LivePacket, backlog: bool) -> None:
        self.packets.append(packet)

    def unplayable(self, why: str) -> None:
        raise AssertionError(why)


def test_who_watches_gets_a_publishers_pictures_as_they_were_sent_even_if_the_decoder_is_behind(
    wanted: threading.Event, activity: Activity
) -> None:
    live, browser = LivePackets(), Browser()
    queue = EncodedQueue(wanted, DecoderWatch(activity, STREAM), live)
    live.begins(4)
    live.watch(browser)
    queue.put((VP8, DELTA))
    assert wanted.is_set() and not browser.packets
    queue.put((VP8, Encoded(KEY.data, 90)))
    for number in range(2 * MAX_WAITING):  # nothing takes them
        queue.put((VP8, Encoded(DELTA.data, 180 + 90 * number)))
    assert [one.pts for one in browser.packets] == [90 + 90 * number for number in range(2 * MAX_WAITING + 1)]
    assert [one.is_key for one in browser.packets] == [True, *[False] * 2 * MAX_WAITING]
    assert {(one.session, one.codec, one.time_base) for one in browser.packets} == {(4, "vp8", Fraction(1, 90_000))}


def test_a_publisher_that_is_taken_over_is_not_seen_any_more_and_ends_nothing(activity: Activity) -> None:
    live, browser = LivePackets(), Browser()
    before, after = (EncodedQueue(threading.Event(), DecoderWatch(activity, STREAM), live) for _ in range(2))
    live.watch(browser)
    before.put((VP8, Encoded(KEY.data, 1)))
    after.put((VP8, Encoded(KEY.data, 2)))
    before.put((VP8, Encoded(DELTA.data, 3)))
    before.put(None)
    after.put((VP8, Encoded(DELTA.data, 4)))
    assert [one.pts for one in browser.packets] == [1, 2, 4]
    after.put(None)
    assert not live.connected
