"""Who is who across the cameras of a site, by looks and time. Pure: it is told what was seen and when."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from inference.features import Features
from tracking.events import Identity

# So many persons are remembered, and so many tracks that have ended; who has been gone for longest goes first.
MOST_PERSONS, MOST_ENDED = 1000, 1000
# Beyond this a ratio of likelihoods says no more than "surely", and must not overflow.
LARGEST_EXPONENT = 50.0

TrackName = tuple[str, str]
"""Camera, and track within it: `session/id`."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike a ReID model finds tracks: the cosine of the same and of different persons, and how much it scatters.

    The defaults are OSNet x0.25's (MSMT17) for means of five looks, measured on PETS09-S2L1 and two TUD videos
    (docs/identity.md).
    """

    same: float = 0.85
    different: float = 0.56
    deviation: float = 0.1

    def ratio(self, cosine: float) -> float:
        """How many times likelier the same person looks so alike than another one does."""
        middle = (self.same + self.different) / 2
        exponent = (cosine - middle) * (self.same - self.different) / self.deviation**2
        return math.exp(min(exponent, LARGEST_EXPONENT))


@dataclass(slots=True)
class _Person:
    """Someone who has been seen: the sum of their looks, and that at length 1; when, and as which tracks."""

    total: Features
    looks: Features
    last_s: float
    tracks: set[TrackName] = field(default_factory=set)

    def seen(self, name: TrackName, at_s: float, features: Features) -> None:
        self.total = self.total + features
        self.looks = self.total / np.float32(np.linalg.norm(self.total) or 1.0)
        self.last_s = at_s
        self.tracks.add(name)


class Identities:
    """Gives each track of each camera a person, new or known.

    Of the persons who are remembered, each whom the track was not seen beside may be it, and so may someone new; what
    they look like on the whole and how long ago they were seen says how probable that is (Bayes). Beforehand someone
    new is as likely as all known ones together: the more are known, the more alike one of them must look. The likeliest
    is chosen, and a track keeps who it is.
    """

    def __init__(
        self, new_id: Callable[[], str], likeness: Likeness | None = None, memory_s: float = 300.0,
        newcomers: float = 1.0,
    ) -> None:  # fmt: skip
        """`new_id` gives none twice; `newcomers` is how likely someone new is, beside all who are known."""
        self._new_id = new_id
        self._likeness = likeness or Likeness()
        self._memory_s = memory_s
        self._newcomers = newcomers
        self._tracks: dict[TrackName, Identity] = {}
        self._ended: OrderedDict[TrackName, str] = OrderedDict()
        self._persons: dict[str, _Person] = {}

    def __len__(self) -> int:
        """How many persons are remembered."""
        return len(self._persons)

    def see(
        self, camera: str, track: str, at_s: float, features: Features, looks: int = 1, beside: Iterable[str] = ()
    ) -> tuple[Identity, bool]:
        """Who a track is, and whether that is someone new.

        Args:
            track: unique within its camera (`session/id`).
            at_s: of one clock for all cameras, which never goes back.
            features: [D], of length 1, the mean of so many `looks` at it.
            beside: tracks of the same camera that were seen in the same pictures.
        """
        name = camera, track
        identity, is_new = self._tracks.get(name), False
        if identity is None:
            self.forget(at_s)
            identity, is_new = self._decide(at_s, features, {self._who(camera, other) for other in beside})
            self._tracks[name] = identity
        self._persons[identity.global_id].seen(name, at_s, np.float32(looks) * features)
        return identity, is_new

    def ended(self, camera: str, track: str) -> None:
        """The track is over; its person may be seen again."""
        name = camera, track
        identity = self._tracks.pop(name, None)
        if identity is None:
            return
        self._persons[identity.global_id].tracks.discard(name)
        self._ended[name] = identity.global_id
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def forget(self, now_s: float) -> None:
        """Forgets who is nowhere and has been gone for too long, and who is one too many."""
        gone = sorted((person.last_s, who) for who, person in self._persons.items() if not person.tracks)
        spare = len(self._persons) - MOST_PERSONS
        for n, (last_s, who) in enumerate(gone):
            if n < spare or now_s - last_s > self._memory_s:
                del self._persons[who]

    def _who(self, camera: str, track: str) -> str | None:
        identity = self._tracks.get((camera, track))
        return self._ended.get((camera, track)) if identity is None else identity.global_id

    def _decide(self, at_s: float, features: Features, others: set[str | None]) -> tuple[Identity, bool]:
        before = {
            who: math.exp((person.last_s - at_s) / self._memory_s)
            for who, person in self._persons.items()
            if who not in others
        }
        weights = {
            who: likely * self._likeness.ratio(float(self._persons[who].looks @ features))
            for who, likely in before.items()
        }
        someone_new = self._newcomers * max(1.0, sum(before.values()))
        total = sum(weights.values()) + someone_new
        likeliest = max(weights, key=lambda who: weights[who], default=None)
        if likeliest is not None and weights[likeliest] > someone_new:
            return Identity(likeliest, weights[likeliest] / total), False
        who = self._new_id()
        self._persons[who] = _Person(np.zeros_like(features), features, at_s)
        return Identity(who, someone_new / total), True
