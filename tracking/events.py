"""The contract of the event rules: something happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ingest.frame import Clock


class EventType(StrEnum):
    TRACK_STARTED = "track.started"
    TRACK_ENDED = "track.ended"
    ZONE_ENTERED = "zone.entered"
    ZONE_LEFT = "zone.left"
    ZONE_DWELL = "zone.dwell"
    ZONE_CROWDED = "zone.crowded"
    LINE_CROSSED = "line.crossed"


class EndReason(StrEnum):
    """Why a track ended: its object was not seen any more, or its stream's session was over."""

    LOST = "lost"
    SESSION_ENDED = "session_ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one track; scalars only.

    Attributes:
        box: x1, y1, x2, y2 in source-frame pixels, where the track was last seen.
        frame_width, frame_height: the source frame's size, pixels.
        captured_at: ns since the epoch, UTC, of the frame in which it happened.
        clock: how that is known.
        uncertainty_ns: by how much it may be wrong; None where nobody knows (files).
        started_at: ns since the epoch, UTC, of the frame in which the track was first seen.
        confidence: highest score of the track so far.
        class_id: the class it was seen as most often.
        frames: frames it was seen in.
        place: name of the zone or line, for events of one.
        number: +1 for each event of this type, of this track at this place.
        direction: the side to which a line was crossed, seen from its start: `left` or `right`.
        duration_s: how long the track has been in the zone, or had been when it left.
        count: objects in the zone after the event.
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

    @property
    def event_id(self) -> str:
        """The same for every attempt to publish this event, different for every other event of its site."""
        place = f"-{self.place}-{self.number}" if self.place else ""
        return f"{self.stream}-{self.session}-{self.track_id}-{self.type.value}{place}"

    @property
    def track_uid(self) -> str:
        """The track's name across streams, sessions and restarts."""
        return f"{self.stream}/{self.session}/{self.track_id}"
