"""Who is in a zone: entered, stayed, left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracking.events import EndReason, EventType
from tracking.rules.config import ZoneConfig
from tracking.rules.geometry import Points, anchors, depth, in_heights
from tracking.rules.happening import Box, Happening, Moment, Sighting
from tracking.tracks import Tracks


@dataclass(slots=True)
class _Stay:
    since: Sighting
    counts: bool  # whether its class is asked for
    dwelt: bool = False


class Zone:
    """One zone of one session. `wanted` says whether a track is of a class that the zone asks for.

    A track that is not seen stays where it was: it neither leaves nor enters until it is seen elsewhere, or ends.
    """

    def __init__(self, name: str, config: ZoneConfig, wanted: Callable[[int], bool]) -> None:
        self.name = name
        self._config = config
        self._wanted = wanted
        self._hold_ns = round(config.hold * 1e9)
        self._stays: dict[int, _Stay] = {}
        self._turning: dict[int, Sighting] = {}  # first seen on the other side of the edge, not yet for long enough
        self._numbers: Counter[tuple[int, EventType]] = Counter()
        self._crowded = False
        self._size: tuple[int, int] | None = None
        self._polygon: Points

    def __len__(self) -> int:
        """How many objects are in it."""
        return sum(stay.counts for stay in self._stays.values())

    def update(self, now: Moment, tracks: Tracks, boxes: Sequence[Box]) -> list[Happening]:
        """What the tracks seen in this frame do; `boxes` are those of `tracks`."""
        if self._size != (now.width, now.height):
            self._size = now.width, now.height
            self._polygon = in_heights(self._config.polygon, now.width, now.height)
        told: list[Happening] = []
        depths = depth(anchors(tracks.boxes, self._config.anchor, now.height), self._polygon).tolist()
        for track_id, box, inside in zip(tracks.track_ids.tolist(), boxes, depths, strict=True):
            is_in = track_id in self._stays
            turns = inside < -self._config.margin if is_in else inside > self._config.margin
            if turns:
                since = self._turning.setdefault(track_id, Sighting(now, box))
                if now.pts_ns - since.at.pts_ns >= self._hold_ns:
                    del self._turning[track_id]
                    told += self._leave(track_id, since, None) if is_in else self._enter(track_id, since)
            elif (inside > 0) == is_in:
                self._turning.pop(track_id, None)  # it went back
            stay = self._stays.get(track_id)
            if stay is not None and not stay.dwelt and self._config.dwell is not None and not turns:
                stayed_s = (now.pts_ns - stay.since.at.pts_ns) / 1e9
                if stayed_s >= self._config.dwell:
                    stay.dwelt = True
                    told += self._tell(stay, EventType.ZONE_DWELL, track_id, Sighting(now, box), stayed_s)
        return told

    def ended(self, track_id: int, last: Sighting, reason: EndReason) -> list[Happening]:
        """The track is no more; who was in the zone leaves it."""
        turned = self._turning.pop(track_id, None)
        told = self._leave(track_id, turned or last, reason) if track_id in self._stays else []
        for kind in EventType:
            self._numbers.pop((track_id, kind), None)
        return told

    def _enter(self, track_id: int, since: Sighting) -> list[Happening]:
        stay = self._stays[track_id] = _Stay(since, self._wanted(track_id))
        told = self._tell(stay, EventType.ZONE_ENTERED, track_id, since)
        if stay.counts and self._config.crowd is not None and not self._crowded and len(self) >= self._config.crowd:
            self._crowded = True
            told += self._tell(stay, EventType.ZONE_CROWDED, track_id, since)
        return told

    def _leave(self, track_id: int, since: Sighting, reason: EndReason | None) -> list[Happening]:
        stay = self._stays.pop(track_id)
        stayed_s = max(0.0, (since.at.pts_ns - stay.since.at.pts_ns) / 1e9)
        if self._config.crowd is not None and len(self) < self._config.crowd:
            self._crowded = False
        return self._tell(stay, EventType.ZONE_LEFT, track_id, since, stayed_s, reason)

    def _tell(
        self, stay: _Stay, kind: EventType, track_id: int, seen: Sighting, duration_s: float | None = None,
        reason: EndReason | None = None,
    ) -> list[Happening]:  # fmt: skip
        if not stay.counts:
            return []
        self._numbers[track_id, kind] += 1
        number = self._numbers[track_id, kind]
        return [Happening(kind, track_id, self.name, seen, number, None, duration_s, len(self), reason)]
