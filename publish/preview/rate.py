"""How many bits a second viewers' networks take, and what that means for the one encode that they share.

The rule: whoever takes at least a quarter of what the median viewer does, and `bitrate_min`, is catered for, so the
worst of these sets the bitrate. Who takes less is sent key frames only. So one bad network costs the others at most
three quarters, and never their pictures; and nobody is shut out while networks are alike, however bad.
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

    def learn(self, heard: Heard, elapsed_s: float) -> None:
        sent = heard.sent_bytes * 8 / elapsed_s
        if heard.lost is not None and heard.lost > FULL:
            self.bits = min(self.bits, sent or self.bits) * (1 - heard.lost / 2)
        elif heard.estimate is not None and heard.estimate < sent:
            self.bits = min(self.bits, heard.estimate)
        elif heard.lost is None or heard.lost < FREE:
            self.bits = min(self.most, self.bits * GROWTH)


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
