"""Key frames that come in parts are decoded as whole pictures, and a lost part costs that picture alone."""

from __future__ import annotations

import io
import re
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import numpy as np
import pytest

from ingest.annexb import look
from ingest.sources.parts import Parts
from tests.ingest.clips import encoded

KEY_EVERY, SLICES = 10, 4
SLICE = re.compile(rb"\x00\x00\x01[\x41\x61\x65\x25\x01]")


@pytest.fixture(scope="module")
def units() -> list[av.Packet[Any]]:
    """Thirty pictures of four slices each, three of them key frames; a packet for each picture."""
    options = {"preset": "ultrafast", "x264-params": f"slices={SLICES}:annexb=1:repeat-headers=1"}
    clip = encoded(format="h264", frames=30, key_every=KEY_EVERY, options=options)
    with av.open(io.BytesIO(clip), format="h264") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for number, packet in enumerate(packets):
        packet.pts, packet.time_base = number, Fraction(1, 10)
    return packets


def divided(unit: av.Packet[Any], into: int = SLICES) -> list[av.Packet[Any]]:
    """A key frame's slices as a camera sends them: the parameter sets before each."""
    data = bytes(unit)
    starts = [found.start() for found in SLICE.finditer(data)]
    assert len(starts) == SLICES
    cuts = [*starts[:: SLICES // into], len(data)]
    found = []
    for start, end in pairwise(cuts):
        part = av.Packet(look(data).parameters + data[start:end])
        part.pts, part.time_base, part.stream, part.is_keyframe = unit.pts, unit.time_base, unit.stream, True
        found.append(part)
    return found


def as_sent(units: list[av.Packet[Any]]) -> list[list[av.Packet[Any]]]:
    return [divided(unit) if unit.is_keyframe else [unit] for unit in units]


def pictures(packets: list[av.Packet[Any]]) -> list[list[Any]]:
    """What each packet becomes."""
    decoder = av.CodecContext.create("h264", "r")
    return [[frame.to_ndarray(format="gray") for frame in decoder.decode(packet)] for packet in packets]


def test_every_picture_is_the_one_that_was_sent(units: list[av.Packet[Any]]) -> None:
    parts = Parts("h264")
    whole = [each for sent in as_sent(units) for part in sent for each in parts.take(part)] + parts.rest()
    assert [packet.pts for packet in whole] == list(range(30))
    for (ours,), (theirs,) in zip(pictures(whole), pictures(units), strict=True):
        assert np.array_equal(ours, theirs)


def test_only_the_first_key_frame_waits_for_the_packet_after_it(units: list[av.Packet[Any]]) -> None:
    parts = Parts("h264")
    taken = [[each.pts for each in parts.take(part)] for sent in as_sent(units) for part in sent]
    assert taken[:5] == [[], [], [], [], [0, 1]]
    second = 4 + KEY_EVERY - 1
    assert taken[second : second + 5] == [[], [], [], [10], [11]]


@pytest.mark.parametrize("lost", range(1, SLICES))
def test_a_lost_part_costs_its_picture_alone(units: list[av.Packet[Any]], lost: int) -> None:
    parts = Parts("h264")
    sent = as_sent(units)
    del sent[KEY_EVERY][lost]
    whole = [each for parcel in sent for part in parcel for each in parts.take(part)]
    assert [packet.pts for packet in whole] == list(range(30))
    shown = pictures(whole)
    assert all(len(frames) == 1 for frames in shown)
    for (ours,), (theirs,) in zip(shown[2 * KEY_EVERY :], pictures(units)[2 * KEY_EVERY :], strict=True):
        assert np.array_equal(ours, theirs)


def test_a_camera_that_divides_its_pictures_into_more_is_understood_from_the_next_one_on(
    units: list[av.Packet[Any]],
) -> None:
    parts = Parts("h264")
    keys = [divided(units[0], 2), divided(units[KEY_EVERY], 4), divided(units[2 * KEY_EVERY], 4)]
    parcels = [*keys[0], units[1], *keys[1], units[KEY_EVERY + 1], *keys[2]]
    taken = [[each.pts for each in parts.take(packet)] for packet in parcels]
    assert taken == [[], [], [0, 1], [], [10], [10], [10], [11], [], [], [], [20]]


def test_whole_key_frames_and_other_codecs_are_left_as_they_are(units: list[av.Packet[Any]]) -> None:
    parts, others = Parts("h264"), Parts("hevc")
    assert parts.take(units[0]) == []
    assert parts.take(units[1]) == units[:2]
    for unit in units[2:]:
        assert parts.take(unit) == [unit]
    for part in divided(units[0]):
        assert others.take(part) == [part]
