"""Packets that become no picture end a live session, with the reason that they suggest."""

from __future__ import annotations

import pytest

from ingest.errors import Reason
from ingest.sources.packets import KEY_FRAME_PATIENCE, PacketCounts

TIMEOUT_S = 5.0


def reason_at(packets: PacketCounts, now: float) -> Reason | None:
    failure = packets.fruitless(now, TIMEOUT_S)
    return failure.reason if failure else None


def begun() -> PacketCounts:
    packets = PacketCounts()
    packets.begin(100.0)
    return packets


def test_packets_that_break_are_corrupt() -> None:
    packets = begun()
    for _ in range(50):
        packets.arrived(True)
        packets.broke()
    assert reason_at(packets, 105.0) is None
    assert reason_at(packets, 105.1) is Reason.CORRUPT
    assert packets.broken == 50


def test_packets_that_silently_stop_becoming_pictures_are_a_stall() -> None:
    packets = begun()
    packets.arrived(True)
    packets.decoded(101.0)
    packets.arrived(False)
    assert reason_at(packets, 106.0) is None
    assert reason_at(packets, 106.1) is Reason.STALLED


def test_a_connection_may_wait_longer_for_its_first_key_frame() -> None:
    packets = begun()
    packets.arrived(False)
    ends = 100 + KEY_FRAME_PATIENCE * TIMEOUT_S
    assert reason_at(packets, ends) is None
    assert reason_at(packets, ends + 0.1) is Reason.NO_VIDEO
    assert "no key frame has come" in str(packets.fruitless(ends + 0.1, TIMEOUT_S))


@pytest.mark.parametrize(("had_frame", "reason"), [(True, Reason.CHANGED), (False, Reason.NO_VIDEO)])
def test_other_data_without_any_video(had_frame: bool, reason: Reason) -> None:
    packets = begun()
    if had_frame:
        packets.arrived(True)
        packets.decoded(100.5)
    assert reason_at(packets, 120) is reason


def test_packets_that_are_not_wanted_are_no_stall() -> None:
    packets = begun()
    packets.arrived(True)
    packets.decoded(100.5)
    for tenth in range(200):
        packets.kept(101 + tenth / 10)
    assert reason_at(packets, 122.0) is None
