"""When a picture was taken: by whose clock, and media time that never goes backwards."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction

NS = 1_000_000_000
MAX_AHEAD_NS = 10 * NS
MAX_BEHIND_NS = NS
LEAST_STEP_NS = NS // 1000
# MPEG-TS counts in 33 bits, RTP and FLV in 32.
WRAPS = (1 << 33, 1 << 32)


class Clock(StrEnum):
    """What told when a picture was taken: the camera itself, or the arrival of its frames."""

    RTCP = "rtcp"
    ARRIVAL = "arrival"


class MediaClock:
    """Media time of one session, in ns from its first frame.

    Timestamps that wrap around go on as if they had not. A missing one, and one that jumps back or ahead by more than
    the limits above, is replaced by the previous time plus the nominal frame interval, and the clock goes on from
    there: cameras reset their timestamps. One that is a little behind (containers that get B-frames wrong) only waits
    its turn.

    Attributes:
        breaks: how often the timestamps have jumped: media time before and after is not of one piece.
    """

    def __init__(self, frame_rate: float | None) -> None:
        self._interval_ns = round(NS / frame_rate) if frame_rate else NS // 25
        self._offset_ns: int | None = None
        self._last_ns = 0
        self.breaks = 0

    def read(self, pts: int | None, time_base: Fraction | None) -> int:
        """The media time of a frame with `pts` in units of `time_base` seconds."""
        if self._offset_ns is None:
            self._offset_ns = -to_ns(pts, time_base) if pts is not None and time_base else 0
            return 0
        expected = self._last_ns + self._interval_ns
        if pts is None or not time_base:
            now = expected
        else:
            now = to_ns(pts, time_base) + self._offset_ns
            if not self._follows(now):
                now = self._unwrapped(now, time_base)
            if not self._follows(now):
                self._offset_ns += expected - now
                now = expected
                self.breaks += 1
            now = max(now, self._last_ns + LEAST_STEP_NS)
        self._last_ns = now
        return now

    def _follows(self, now: int) -> bool:
        return -MAX_BEHIND_NS < now - self._last_ns <= MAX_AHEAD_NS

    def _unwrapped(self, now: int, time_base: Fraction) -> int:
        """`now` one turn of a counter later or earlier, where that follows the last frame."""
        assert self._offset_ns is not None, "there was a frame before"
        for ticks in WRAPS:
            turn = to_ns(ticks, time_base)
            for shift in (turn, -turn):
                if self._follows(now + shift):
                    self._offset_ns += shift
                    return now + shift
        return now


def to_ns(pts: int, time_base: Fraction) -> int:
    """Units of `time_base` seconds in ns."""
    return pts * time_base.numerator * NS // time_base.denominator
