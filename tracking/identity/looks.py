"""What the tracks of a session look like on the whole, and when that is worth telling. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from inference.features import Features
from ingest.clock import NS
from tracking.tracks import Tracks

# One picture of a track after the other shows the same: so long lies between two looks.
LOOK_EVERY_NS = NS // 5
# So long after it was told for the first time what a track looks like is told again: who it is stays, but how that one
# looks is then known better. Later it is told ever more seldom, down to once in so long.
AGAIN_NS, SELDOM_NS = 2 * NS, 32 * NS


@dataclass(frozen=True, slots=True)
class Look:
    """What a track has looked like since that was told last.

    Attributes:
        features: float32 [D], the mean of so many `looks`, of length 1.
        beside: tracks that were seen in the same pictures before it was first told, and so are others.
    """

    track_id: int
    features: Features
    looks: int
    beside: tuple[int, ...]


@dataclass(slots=True)
class _Seen:
    """Sum and number of the looks since it was told; times are ns of media time."""

    total: Features
    by: str
    looks: int = 0
    last_ns: int = -LOOK_EVERY_NS
    told_ns: int | None = None
    again_ns: int = AGAIN_NS
    beside: set[int] = field(default_factory=set)


class Looks:
    """Looks at a session's tracks now and then: `looks` times before they are told of, and seldom after that."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._seen: dict[int, _Seen] = {}

    def __len__(self) -> int:
        """How many tracks are looked at."""
        return len(self._seen)

    def see(self, now_ns: int, tracks: Tracks, features: Features, wanted: set[int], by: str) -> list[Look]:
        """What to tell now of tracks seen in a picture.

        It stays to be told until `told` is called for it. `features` are those of the picture's detections, [N, D],
        rows of zeros for those that have none; `by` names what they were made with; `wanted` are the classes that
        matter.
        """
        looked = []
        rows, classes = tracks.detection_rows.tolist(), tracks.class_ids.tolist()
        for n, track_id in enumerate(tracks.track_ids.tolist()):
            seen = self._seen.get(track_id)
            if rows[n] < 0 or classes[n] not in wanted or (seen and now_ns - seen.last_ns < LOOK_EVERY_NS):
                continue
            row = features[rows[n]]
            if not row.any():
                continue
            if seen is None:
                seen = self._seen[track_id] = _Seen(np.zeros_like(row), by)
            elif seen.by != by:  # there is another model: the looks do not add up
                seen.total, seen.looks, seen.by = np.zeros_like(row), 0, by
            seen.total = seen.total + row
            seen.looks += 1
            seen.last_ns = now_ns
            if seen.told_ns is None:
                seen.beside.update(tracks.track_ids.tolist())
            looked.append((track_id, seen))
        return [self._look(track_id, seen) for track_id, seen in looked if self._is_due(seen, now_ns)]

    def told(self, track_id: int, now_ns: int) -> None:
        """What the track looks like has been told."""
        seen = self._seen[track_id]
        if seen.told_ns is not None:
            seen.again_ns = min(2 * seen.again_ns, SELDOM_NS)
        seen.total, seen.looks, seen.told_ns = np.zeros_like(seen.total), 0, now_ns
        seen.beside.clear()

    def ended(self, track_id: int) -> bool:
        """The track is over; whether it was ever told of."""
        seen = self._seen.pop(track_id, None)
        return seen is not None and seen.told_ns is not None

    def _is_due(self, seen: _Seen, now_ns: int) -> bool:
        return seen.looks >= self._looks and (seen.told_ns is None or now_ns - seen.told_ns >= seen.again_ns)

    def _look(self, track_id: int, seen: _Seen) -> Look:
        length = float(np.linalg.norm(seen.total))
        beside = tuple(sorted(seen.beside - {track_id}))
        return Look(track_id, seen.total / np.float32(length or 1.0), seen.looks, beside)
