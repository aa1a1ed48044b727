"""The camera's own clock, as its RTCP sender reports tell it: when the picture with a given timestamp was taken."""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.packet import Packet

from ingest.clock import to_ns

# FFmpeg's AVProducerReferenceTime: microseconds since the epoch, and flags.
_PRODUCER_TIME = struct.Struct("=q")
KEPT_REPORTS = 8
# FFmpeg rounds to microseconds: the same report gives origins that differ by one.
ROUNDING_NS = 2000


@dataclass(frozen=True, slots=True)
class CameraTime:
    """When a picture was taken by the camera's clock, ns since the epoch, and by how much its reports disagree, ns."""

    at_ns: int
    spread_ns: int


class SenderReports:
    """The sender reports of one connection.

    FFmpeg's RTSP demuxer gives every packet the time of its picture, reckoned from the latest report. Its
    `start_time_realtime` knows the first report only, so that cameras whose clocks drift would drift away from it.
    """

    def __init__(self) -> None:
        self._origins: deque[int] = deque(maxlen=KEPT_REPORTS)  # when timestamp 0 was, by each report
        self._unconfirmed: int | None = None

    def heed(self, packet: Packet[Any]) -> None:
        """Takes note of the time that a demuxed packet carries, if it does."""
        if packet.pts is None or not packet.time_base or not packet.has_sidedata("prft"):
            return
        (at_us,) = _PRODUCER_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
        self.report(at_us * 1000, packet.pts, packet.time_base)

    def report(self, at_ns: int, pts: int, time_base: Fraction) -> None:
        """The camera says that the picture with this timestamp is of `at_ns` since the epoch.

        It counts when the next packet says the same: FFmpeg's parser hands the first time that there is to the picture
        before the one it is of.
        """
        origin = at_ns - to_ns(pts, time_base)
        if self._origins and abs(origin - self._origins[-1]) <= ROUNDING_NS:
            return
        if self._unconfirmed is not None and abs(origin - self._unconfirmed) <= ROUNDING_NS:
            self._origins.append(origin)
        self._unconfirmed = origin

    def time_of(self, pts: int | None, time_base: Fraction | None) -> CameraTime | None:
        """The time of the picture with this timestamp; None before the first report."""
        if pts is None or not time_base or not self._origins:
            return None
        spread = max(self._origins) - min(self._origins)
        return CameraTime(self._origins[-1] + to_ns(pts, time_base), spread)
