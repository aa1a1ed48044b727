"""When pictures are on the RTP clock of a view: one for all its viewers, across sessions of the stream."""

from __future__ import annotations

import random
from collections import OrderedDict

CLOCK_HZ = 90_000
# A camera's clock that is further from its packets' arrival than this has jumped.
MOST_ASTRAY = 2 * CLOCK_HZ
LEAST_STEP = CLOCK_HZ // 1000
# What was seen in a picture is known less than a second later; this is more than any camera makes until then.
REMEMBERED = 1024


class Timeline:
    """Media time goes at the camera's pace; where a session begins, or its clock jumps, arrivals say how much passed.

    Times are not wrapped at 32 bits: `on_wire` does that.
    """

    def __init__(self, start: int | None = None) -> None:
        # Wraps are a player's business too, but need not come in the first hours.
        self._last = random.randrange(1 << 31) if start is None else start
        self._last_arrival_ns: int | None = None
        self._session: int | None = None
        self._zero = 0.0  # of the session's pts, on this clock
        self._known: OrderedDict[tuple[int, int], int] = OrderedDict()

    def place(self, session: int, pts: int, time_base_s: float, arrival_ns: int) -> int:
        """Where a picture is, after all before it."""
        media = pts * time_base_s * CLOCK_HZ
        passed = 0 if self._last_arrival_ns is None else (arrival_ns - self._last_arrival_ns) * CLOCK_HZ // 10**9
        expected = self._last + max(LEAST_STEP, passed)
        at = round(self._zero + media)
        if session != self._session or abs(at - expected) > MOST_ASTRAY or at <= self._last:
            at = expected
            self._session, self._zero = session, expected - media
        self._last, self._last_arrival_ns = at, arrival_ns
        self._known[session, pts] = at
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return at

    def of(self, session: int, pts: int) -> int | None:
        """Where a picture was placed, if it was and that is not long ago."""
        return self._known.get((session, pts))


def on_wire(at: int) -> int:
    """As RTP has it."""
    return at & 0xFFFFFFFF
