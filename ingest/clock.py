"""Turns a container's timestamps into media time that never goes backwards."""

from __future__ import annotations

from fractions import Fraction

NS = 1_000_000_000
MAX_AHEAD_NS = 10 * NS
MAX_BEHIND_NS = NS
LEAST_STEP_NS = NS // 1000


class MediaClock:
    """Media time of one session, in ns from its first frame.

    A missing timestamp, and one that jumps back or ahead by more than the limits below, is replaced by the previous
    time plus the nominal frame interval, and the clock goes on from there: cameras reset and wrap their timestamps.
    One that is a little behind (containers that get B-frames wrong) only waits its turn.
    """

    def __init__(self, frame_rate: float | None) -> None:
        self._interval_ns = round(NS / frame_rate) if frame_rate else NS // 25
        self._offset_ns: int | None = None
        self._last_ns = 0

    def read(self, pts: int | None, time_base: Fraction | None) -> int:
        """The media time of a frame with `pts` in units of `time_base` seconds."""
        if self._offset_ns is None:
            self._offset_ns = -_to_ns(pts, time_base) if pts is not None and time_base else 0
            return 0
        expected = self._last_ns + self._interval_ns
        if pts is None or not time_base:
            now = expected
        else:
            now = _to_ns(pts, time_base) + self._offset_ns
            ahead = now - self._last_ns
            if not -MAX_BEHIND_NS < ahead <= MAX_AHEAD_NS:
                self._offset_ns += expected - now
                now = expected
            elif ahead < LEAST_STEP_NS:
                now = self._last_ns + LEAST_STEP_NS
        self._last_ns = now
        return now


def _to_ns(pts: int, time_base: Fraction) -> int:
    return pts * time_base.numerator * NS // time_base.denominator
