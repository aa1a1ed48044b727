"""The contract of the event rules: something happened."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ingest.frame import Clock


class EventType(StrEnum):
    TRACK_STARTED = "track.started"
    TRACK_ENDED = "track.ended"


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

    @property
    def event_id(self) -> str:
        """The same for every attempt to publish this event, different for every other event of its site."""
        return f"{self.stream}-{self.session}-{self.track_id}-{self.type.value}"

    @property
    def track_uid(self) -> str:
        """The track's name across streams, sessions and restarts."""
        return f"{self.stream}/{self.session}/{self.track_id}"
