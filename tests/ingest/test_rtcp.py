"""Sender reports say when a picture with a given timestamp was taken, by the camera's own clock."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from hypothesis import given
from hypothesis import strategies as st

from ingest.clock import NS
from ingest.rtcp import KEPT_REPORTS, CameraTime, SenderReports

RTP = Fraction(1, 90000)
EPOCH_US = 1_700_000_000_000_000


def packet(pts: int | None, at_us: int | None) -> Packet[Any]:
    """As FFmpeg's RTSP demuxer makes them: from the first report on with an AVProducerReferenceTime."""
    made: Packet[Any] = Packet(16)
    made.pts, made.time_base = pts, RTP
    if at_us is not None:
        data: Any = PacketSideData(packet_sidedata_type_from_literal("prft"), 16)  # type: ignore[call-arg]
        data.update(struct.pack("=qii", at_us, 24, 0))
        made.set_sidedata(data)
    return made


def told(reports: SenderReports, at_ns: int, pts: int) -> None:
    """As two packets in a row say it."""
    reports.report(at_ns, pts, RTP)
    reports.report(at_ns + NS // 25, pts + 3600, RTP)


def test_the_times_that_packets_carry_are_heeded() -> None:
    reports = SenderReports()
    reports.heed(packet(None, EPOCH_US))
    reports.heed(packet(0, None))
    assert reports.time_of(0, RTP) is None
    reports.heed(packet(900_000, EPOCH_US))
    reports.heed(packet(903_600, EPOCH_US + 40_000))
    assert reports.time_of(990_000, RTP) == CameraTime(EPOCH_US * 1000 + NS, 0)


def test_before_the_first_report_nothing_is_known() -> None:
    reports = SenderReports()
    reports.heed(packet(0, None))
    assert reports.time_of(0, RTP) is None


@given(st.integers(-(2**33), 2**33), st.integers(-90_000, 90_000))
def test_a_report_times_the_frames_around_it(reported: int, apart: int) -> None:
    reports = SenderReports()
    told(reports, EPOCH_US * 1000, reported)
    time = reports.time_of(reported + apart, RTP)
    assert time is not None
    assert abs(time.at_ns - (EPOCH_US * 1000 + apart * NS // 90_000)) <= 2
    assert time.spread_ns == 0


def test_a_frame_without_a_timestamp_has_no_time() -> None:
    reports = SenderReports()
    told(reports, EPOCH_US * 1000, 0)
    assert reports.time_of(None, RTP) is None
    assert reports.time_of(0, None) is None


def test_a_clock_that_drifts_is_followed_and_its_reports_disagree() -> None:
    reports = SenderReports()
    for minute in range(10):  # the sender's wall clock gains 3 ms a minute on its media clock
        told(reports, EPOCH_US * 1000 + minute * (60 * NS + 3_000_000), minute * 60 * 90_000)
    last = EPOCH_US * 1000 + 9 * (60 * NS + 3_000_000)
    assert reports.time_of(9 * 60 * 90_000, RTP) == CameraTime(last, (KEPT_REPORTS - 1) * 3_000_000)


def test_a_report_that_is_repeated_with_every_packet_counts_once() -> None:
    reports = SenderReports()
    told(reports, EPOCH_US * 1000, 0)
    told(reports, EPOCH_US * 1000 + 5_000_000, 0)
    for number in range(100):  # rounded to microseconds, as FFmpeg does
        reports.report(EPOCH_US * 1000 + 5_000_000 + number * NS // 25 + number % 2 * 1000, number * 3600, RTP)
    time = reports.time_of(0, RTP)
    assert time is not None and time.spread_ns >= 5_000_000


def test_a_time_that_the_next_packet_contradicts_does_not_count() -> None:
    """The first one that FFmpeg's parser hands out is of the next picture."""
    reports = SenderReports()
    reports.report(EPOCH_US * 1000, 0, RTP)
    assert reports.time_of(0, RTP) is None
    told(reports, EPOCH_US * 1000, 3600)
    assert reports.time_of(3600, RTP) == CameraTime(EPOCH_US * 1000, 0)
