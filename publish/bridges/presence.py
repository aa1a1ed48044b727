"""Who is in a stream's picture and in its zones, as its durable events tell.

Events say it all: a track starts and ends once, enters a zone and leaves it, in order. So what is known is a fold over
them, and the place in the events stream up to which it was made. Both are kept together (`publish/bridges/store.py`).
After a restart the bridge's consumer goes on there, or before: an event that is known already changes nothing.

Tracks are of a session. The first event of a later one ends all that is known of those before: should a service die
without a word, no zone stays occupied.
"""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, Field

from publish.bridges.contract import Told
from tracking.events import EventType

# Of these events it is made.
PRESENCE_TYPES = (
    EventType.TRACK_STARTED.value, EventType.TRACK_ENDED.value, EventType.ZONE_ENTERED.value, EventType.ZONE_LEFT.value,
)  # fmt: skip
# Where, None for the whole picture, and what.
Place = tuple[str | None, str]
ALL = "all"


class Track(BaseModel):
    """What it is, and the zones it is in."""

    what: str
    zones: list[str] = Field(default_factory=list)


class Presence(BaseModel):
    """Of one stream. `known` are the places and classes that there ever was something of: their counts are told."""

    sequence: int = 0
    session: int = 0
    tracks: dict[int, Track] = Field(default_factory=dict)
    known: set[Place] = Field(default_factory=set)

    def apply(self, event: Told, sequence: int) -> bool:
        """Takes an event; False when it has done so before."""
        if event.session == self.session and sequence <= self.sequence:
            return False
        self.sequence = sequence
        if event.session > self.session:
            self.session, self.tracks = event.session, {}
        if event.session == self.session and event.track_id is not None and event.class_name is not None:
            self._follow(event.type, event.track_id, event.class_name, event.zone)
        return True

    def _follow(self, kind: str, track_id: int, what: str, zone: str | None) -> None:
        if kind == EventType.TRACK_ENDED:
            self.tracks.pop(track_id, None)
            return
        if kind in (EventType.TRACK_STARTED, EventType.ZONE_ENTERED):
            self.tracks.setdefault(track_id, Track(what=what))
        track = self.tracks.get(track_id)
        if track is None:
            return
        track.what = what  # what it is seen as most often may change
        if kind == EventType.ZONE_ENTERED and zone is not None and zone not in track.zones:
            track.zones.append(zone)
        elif kind == EventType.ZONE_LEFT and zone in track.zones:
            track.zones.remove(zone)
        self.known |= {(place, what) for place in (None, *track.zones)}

    def counts(self) -> Counter[Place]:
        """How many there are of each class in each place."""
        return Counter((place, one.what) for one in self.tracks.values() for place in (None, *one.zones))
