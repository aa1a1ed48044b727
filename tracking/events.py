"""The contract of the event rules: something happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ingest.clock import Clock


class EventType(StrEnum):
    TRACK_STARTED = "track.started"
    TRACK_UPDATED = "track.updated"
    TRACK_ENDED = "track.ended"
    ZONE_ENTERED = "zone.entered"
    ZONE_LEFT = "zone.left"
    ZONE_DWELL = "zone.dwell"
    ZONE_CROWDED = "zone.crowded"
    ZONE_STOPPED = "zone.stopped"
    ZONE_MOVED = "zone.moved"
    ZONE_LOITERING = "zone.loitering"
    ZONE_LOITERED = "zone.loitered"
    ZONE_ABANDONED = "zone.abandoned"
    ZONE_CLEARED = "zone.cleared"
    ZONE_SPEEDING = "zone.speeding"
    LINE_CROSSED = "line.crossed"


class CountType(StrEnum):
    ZONE_COUNTED = "zone.counted"
    LINE_COUNTED = "line.counted"


class Change(StrEnum):
    """What an update of a track tells anew: its best view, a zone that it has been in, who it is."""

    BEST = "best"
    ZONES = "zones"
    IDENTITY = "identity"


# What ends what another event began.
ENDS: Mapping[EventType | CountType, EventType] = {
    EventType.TRACK_STARTED: EventType.TRACK_ENDED,
    EventType.ZONE_ENTERED: EventType.ZONE_LEFT,
    EventType.ZONE_STOPPED: EventType.ZONE_MOVED,
    EventType.ZONE_ABANDONED: EventType.ZONE_CLEARED,
    EventType.ZONE_LOITERING: EventType.ZONE_LOITERED,
}


class EndReason(StrEnum):
    """Why a track ended: its object was not seen any more, its stream's session was over, or who followed it was
    killed."""

    LOST = "lost"
    SESSION_ENDED = "session_ended"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Motion:
    """How a track moves, smoothed over about a second.

    Attributes:
        speed: m/s where the ground is known, else picture heights per second.
        heading: degrees clockwise from straight up in the picture, or from the ground's y; None when it stands.
    """

    speed: float
    heading: float | None
    on_ground: bool


@dataclass(frozen=True, slots=True)
class BestView:
    """The frame that shows a track best: surely, large, in the middle, not cut off; and where."""

    seq: int
    pts_ns: int
    captured_at: int
    box: tuple[float, float, float, float]
    confidence: float


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a track is, among all tracks of all cameras of a site.

    Attributes:
        global_id: the same for all tracks of one person or thing; never used again, over restarts too.
        confidence: how probable that is, from 0 to 1, given everyone who might be it.
    """

    global_id: str
    confidence: float


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """What has changed of a living track since its start or its last update, and how that is now.

    Attributes:
        zones: those it has been in so far, of whose classes it was; in order.
    """

    changed: tuple[Change, ...]
    best: BestView
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """What a track was, told at its end.

    Attributes:
        class_confidence: mean score of the frames in which it was seen as its class.
        duration_s: media time from its first to its last sighting.
        distance: how far its feet went, in metres where the ground is known, else in picture heights; what boxes
            tremble by is not counted.
        path: where its feet were, at most 32 points: seconds of media time, x and y in pixels of its last frame.
        zones: those it has been in, of whose classes it was; in order.
    """

    best: BestView
    class_confidence: float
    duration_s: float
    distance: float
    on_ground: bool
    path: tuple[tuple[float, float, float], ...]
    zones: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many there were of a class, in a direction, since the last report and, by window in seconds, lately."""

    class_name: str
    direction: str | None
    count: int
    windows: dict[float, int]


@dataclass(frozen=True, slots=True)
class CountReport:
    """How many entered a zone or crossed a line: of no track's, told now and then.

    Attributes:
        number: +1 for each of this place; not all numbers are used.
        over_s: seconds of media time since the report before.
        counts: of those that had any.
    """

    type: CountType
    stream: str
    session: int
    seq: int
    pts_ns: int
    captured_at: int
    clock: Clock
    uncertainty_ns: int | None
    place: str
    number: int
    over_s: float
    counts: tuple[Counted, ...]

    @property
    def event_id(self) -> str:
        """The same for every attempt to publish this report, different for every other event of its site."""
        return f"{self.stream}-{self.session}-{self.type.value}-{self.place}-{self.number}"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one track.

    Attributes:
        box: x1, y1, x2, y2 in source-frame pixels, where the track was last seen.
        frame_width, frame_height: the source frame's size, pixels.
        captured_at: ns since the epoch, UTC, of the frame in which it happened.
        clock: how that is known.
        uncertainty_ns: by how much it may be wrong; None where nobody knows (files).
        started_at: ns since the epoch, UTC, of the frame in which the track was first seen.
        confidence: highest score of the track so far.
        class_id: the class it was seen as most often.
        frames: frames it was detected in.
        place: name of the zone or line, for events of one.
        number: +1 for each event of this type, of this track, at this place if it is of one.
        direction: the side to which a line was crossed, seen from its start: `left` or `right`.
        duration_s: how long the track has been in the zone, or had been when it left.
        count: objects in the zone after the event.
        motion: how it moved when the event was certain, where that is known; for updates and events of a place.
        update: with `track.updated`.
        summary: of the whole track, at its end.
        identity: who it is, once that is known.
    """

    type: EventType
    stream: str
    session: int
    seq: int
    pts_ns: int
    captured_at: int
    clock: Clock
    uncertainty_ns: int | None
    track_id: int
    class_id: int
    confidence: float
    box: tuple[float, float, float, float]
    frame_width: int
    frame_height: int
    started_at: int
    frames: int
    reason: EndReason | None = None
    place: str | None = None
    number: int = 1
    direction: str | None = None
    duration_s: float | None = None
    count: int | None = None
    motion: Motion | None = None
    update: TrackUpdate | None = None
    summary: TrackSummary | None = None
    identity: Identity | None = None

    @property
    def event_id(self) -> str:
        """The same for every attempt to publish this event, different for every other event of its site."""
        which = f"-{self.place}-{self.number}" if self.place else f"-{self.number}" if self.update else ""
        return f"{self.stream}-{self.session}-{self.track_id}-{self.type.value}{which}"

    @property
    def track_uid(self) -> str:
        """The track's name across streams, sessions and restarts."""
        return f"{self.stream}/{self.session}/{self.track_id}"
