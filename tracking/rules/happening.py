"""What the rules tell: something that a track did, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ingest.clock import Clock
from tracking.events import EndReason, EventType

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in source-frame pixels."""


class Moment(NamedTuple):
    """A frame without its picture, which must not be kept."""

    seq: int
    pts_ns: int
    captured_at: int
    clock: Clock
    uncertainty_ns: int | None
    width: int
    height: int


class Sighting(NamedTuple):
    """Where a track was, and when."""

    at: Moment
    box: Box


@dataclass(frozen=True, slots=True)
class Happening:
    """Attributes:
    place: the zone's or line's name.
    number: +1 for each of this type, of this track at this place.
    direction: of a crossing, `left` or `right`.
    duration_s: of a stay so far, or when left, in all.
    count: objects in the zone, after it.
    """

    type: EventType
    track_id: int
    place: str
    seen: Sighting
    number: int
    direction: str | None = None
    duration_s: float | None = None
    count: int | None = None
    reason: EndReason | None = None
