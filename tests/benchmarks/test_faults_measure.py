"""What the fault benchmark counts as lost, and what it does to packets, told by plain values."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.faults_measure import Missing, missing
from benchmarks.faults_proxy import RTP_HEADER_BYTES, SPLIT_HEADER_BYTES, flipped, shifted, truncated

FPS = 10


def result(at: float, seq: int, pts: float, session: int = 1) -> dict[str, Any]:
    return {"_arrived": at, "seq": seq, "pts": pts, "session": session}


def steady(count: int) -> list[dict[str, Any]]:
    return [result(n / FPS, n, n / FPS) for n in range(count)]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (steady(30), Missing()),
        (steady(10) + steady(30)[13:], Missing(dropped=3)),
        (steady(10) + [result(at / FPS, at - 3, at / FPS) for at in range(13, 30)], Missing(lost=3)),
        (steady(10) + [result(at / FPS, at - 20, (at - 20) / FPS, 2) for at in range(20, 30)], Missing(lost=10)),
        (steady(11), Missing(lost=9)),
        ([], Missing(lost=19)),
    ],
    ids=["none", "dropped", "never decoded", "between sessions", "silent since", "silent all the time"],
)
def test_frames_are_missing_by_number_by_media_time_or_by_silence(
    results: list[dict[str, Any]], expected: Missing
) -> None:
    assert missing(results, 0.0, 2.0) == expected


def test_what_is_missing_outside_of_the_window_does_not_count() -> None:
    results = steady(5) + steady(40)[10:20] + steady(40)[30:]
    assert missing(results, 1.05, 1.85) == Missing()


def rtp(payload: bytes) -> bytes:
    return b"\x80\x60" + (7).to_bytes(2, "big") + (1000).to_bytes(4, "big") + bytes(4) + payload


def test_headers_of_damaged_packets_stay_whole() -> None:
    packet = rtp(bytes(100))
    kept = RTP_HEADER_BYTES + SPLIT_HEADER_BYTES
    for spoil in (flipped(1, 1.0), truncated(1, 1.0)):
        spoilt = [spoil(0, packet) for _ in range(50)]
        assert all(one[:kept] == packet[:kept] for one in spoilt)
        assert any(one != packet for one in spoilt)
        assert spoil(1, packet) == packet  # RTCP


def test_a_clock_is_moved_in_packets_and_in_sender_reports_alike() -> None:
    report = b"\x80\xc8" + bytes(14) + (1000).to_bytes(4, "big") + bytes(8)
    assert shifted(500)(0, rtp(b"x"))[4:8] == (1500).to_bytes(4, "big")
    assert shifted(500)(1, report)[16:20] == (1500).to_bytes(4, "big")
    assert shifted(-2000)(0, rtp(b"x"))[4:8] == (2**32 - 1000).to_bytes(4, "big")
