"""Catches up with a live camera whose packets wait: what cannot be decoded in time is better not decoded at all.

Over TCP nothing is lost on its way. Where the CPU does not suffice to decode all cameras, each is read too slowly, what
waits in its sockets is ever more, and its pictures are seconds old when they are seen.
"""

from __future__ import annotations

from typing import Any

import av

# What waited for longer is too old. Networks deliver in bursts: less than this is no backlog.
LATE_S = 1.0
CAUGHT_UP_S = 0.3
# In a stretch of this length a reader that keeps up waits for its camera for at least this share of it. Several without
# that are more than a hiccup.
STRETCH_S = 1.0
WAITING_SHARE = 0.25
STRETCHES = 3
# Timestamps that go forward or back by so much against the host's clock have begun anew.
JUMP_S = 10.0


class Backlog:
    """Of one connection. A packet's lateness is its arrival less its timestamp, compared with the least there was.

    That alone says nothing, as cameras' clocks run slow and networks' delays grow. But whoever has to wait for the next
    packet has none that waits, whatever the timestamps say.
    """

    def __init__(self) -> None:
        self._least_s: float | None = None
        self._last: tuple[float, float] | None = None  # when a packet came, and its timestamp
        self._stretch_ends: float | None = None
        self._waited_s = 0.0
        self._busy = 0  # stretches in a row
        self.behind = False

    def waited(self, seconds: float, now: float) -> None:
        """The reader has waited so long for a packet, which came `now`, monotonic seconds."""
        self._waited_s += seconds
        if self._stretch_ends is None:
            self._stretch_ends = now + STRETCH_S
        elif now >= self._stretch_ends:
            length_s = now - self._stretch_ends + STRETCH_S
            self._busy = 0 if self._waited_s >= WAITING_SHARE * length_s else self._busy + 1
            self._stretch_ends, self._waited_s = now + STRETCH_S, 0.0

    def passes_over(self, packet: av.Packet[Any], now: float) -> bool:
        """Whether the packet, in hand `now`, is too old to be decoded, or builds on one that was."""
        late_s = self._late_s(packet, now)
        if late_s is None:
            return False
        if self.behind and packet.is_keyframe and late_s <= CAUGHT_UP_S:
            self.behind = False
        elif self.behind and packet.is_keyframe and not self._busy:
            self.behind, self._least_s = False, None  # nothing waits: so late is what is usual now
        elif not self.behind and late_s > LATE_S and self._busy >= STRETCHES:
            self.behind = True
        return self.behind

    def _late_s(self, packet: av.Packet[Any], now: float) -> float | None:
        """By how much later it is than the quickest; None: it has no time."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or not packet.time_base:
            return None
        at = float(stamp * packet.time_base)
        if self._last is not None and abs((at - self._last[1]) - (now - self._last[0])) > JUMP_S:
            self._least_s = None
        self._last = now, at
        self._least_s = now - at if self._least_s is None else min(self._least_s, now - at)
        return now - at - self._least_s
