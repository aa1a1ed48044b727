"""How many bits a second viewers' networks take, and what that means for what they are sent.

Of an encode that viewers share: whoever takes at least a quarter of what the median viewer does, and `bitrate_min`, is
catered for, so the worst of these sets the bitrate. Who takes less is sent key frames only. So one bad network costs
the others at most three quarters, and never their pictures; and nobody is shut out while networks are alike, however
bad.

A camera's own bitrate is the camera's. Who loses too much of it is sent key frames only, and all of it now and then, to
see whether the network has become better.

Only losses cost a viewer its pictures: players' estimates are wrong by far on a busy machine and for pictures that need
little.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median_low

from publish.preview.outlet import Heard

# Losses above the first are a network's that is full; below the second it may take more.
FULL, FREE = 0.1, 0.02
GROWTH = 1.08
SENSIBLE = 0.25
# Losses of so many reports in a row are no hiccup.
LOSSY_REPORTS = 3
# For so long there are key frames only before all of the camera's video is tried again: twice as long each time…
AGAIN_S, AGAIN_LATEST_S = 5.0, 60.0
# … unless it went well for this long.
GOOD_S = 30.0
# Encoders are told of a new bitrate when it differs by so much: each change costs a little quality.
WORTH_TELLING = 0.15


@dataclass(slots=True)
class Capacity:
    """What one viewer's network takes, in bits a second: less when it loses packets, slowly more while it does not.

    A player's estimate counts only while it is below what it is sent: above, it says no more than that there was no
    more to measure.
    """

    bits: float
    most: float
    _lossy: int = 0  # reports in a row

    def learn(self, heard: Heard, elapsed_s: float) -> None:
        if heard.lost is not None:
            self._lossy = self._lossy + 1 if heard.lost > FULL else 0
        sent = heard.sent_bytes * 8 / elapsed_s
        if heard.lost is not None and heard.lost > FULL:
            self.bits = min(self.bits, sent or self.bits) * (1 - heard.lost / 2)
        elif heard.estimate is not None and heard.estimate < sent:
            self.bits = min(self.bits, heard.estimate)
        elif heard.lost is None or heard.lost < FREE:
            self.bits = min(self.most, self.bits * GROWTH)

    @property
    def loses(self) -> bool:
        """Whether much was lost for some time, up to the last report."""
        return self._lossy >= LOSSY_REPORTS


@dataclass(slots=True)
class Trial:
    """Whether one viewer's network takes a camera's own video; times are monotonic seconds."""

    keys_only: bool = False
    _since: float = 0.0
    _pause_s: float = AGAIN_S

    def look(self, loses: bool, now: float) -> bool:
        """Whether there are key frames only from now on; `loses` as `Capacity` says."""
        passed_s = now - self._since
        if self.keys_only:
            if passed_s >= self._pause_s:
                self.keys_only, self._since = False, now
                self._pause_s = min(2 * self._pause_s, AGAIN_LATEST_S)
        elif loses:
            if passed_s > GOOD_S:
                self._pause_s = AGAIN_S
            self.keys_only, self._since = True, now
        return self.keys_only


@dataclass(frozen=True, slots=True)
class Shared:
    """The bitrate of an encode, and what a viewer must take to get all of it."""

    bits: float
    least: float


def shared(capacities: Iterable[Capacity], low: float, high: float) -> Shared:
    """By the rule above; `low` and `high` are the configured bounds."""
    bits = sorted(one.bits for one in capacities)
    if not bits:
        return Shared(high, low)
    least = max(low, SENSIBLE * median_low(bits))
    if bits[-1] < low:
        return Shared(low, 0.0)  # alike, and bad: better too much for them than nothing
    return Shared(min(max(min(one for one in bits if one >= least), low), high), least)
