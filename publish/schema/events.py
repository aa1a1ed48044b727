"""What happened: to a track, in a zone, at a line; and how many there were."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field, TypeAdapter

from ingest.clock import Clock
from publish.schema.base import (
    ABSENT,
    KNOWN_BY,
    SCHEMA_VERSION,
    UNCERTAINTY,
    Box,
    GlobalConfidence,
    GlobalId,
    Heading,
    Message,
    Model,
    Size,
    Speed,
)  # fmt: skip
from tracking.events import Change, CountType, EndReason, EventType


class BestView(Message):
    """The frame that shows a track best, and where."""

    seq: int
    pts: float
    captured_at: datetime
    box: Box
    confidence: float = Field(ge=0, le=1)


class Summary(Message):
    """What a track was, told at its end. Of the distances one is there: in metres where the ground is known."""

    best: BestView
    class_confidence: float = Field(
        ge=0, le=1, description="Mean score of the frames in which it was seen as its class"
    )
    duration_s: float = Field(description="Media time from its first to its last sighting")
    distance_m: float | None = Field(None, exclude_if=ABSENT, description="How far its feet went, in metres")
    distance_heights: float | None = Field(None, exclude_if=ABSENT, description="The same in picture heights")
    path: list[tuple[float, float, float]] = Field(
        max_length=32, description="Where its feet were: pts, and x and y in pixels of its last frame"
    )
    zones: list[str] = Field(description="The zones it has been in, in order")


class Media(Message):
    """An event's pictures and clip: keys, to be had from `GET /api/v1/media/{key}` soon after the event."""

    snapshot: str | None = Field(None, exclude_if=ABSENT, description="The whole frame")
    crop: str | None = Field(None, exclude_if=ABSENT, description="The object alone")
    clip: str | None = Field(
        None, exclude_if=ABSENT, description="Video around the event, there once it is over; events may share one"
    )
    seq: int | None = Field(None, exclude_if=ABSENT, description="The frame in the pictures, of the event's session")
    captured_at: datetime | None = Field(None, exclude_if=ABSENT, description="When the picture in them was taken")


class _Event(Message):
    """What every event says: which it is, and of which frame."""

    schema_version: str = SCHEMA_VERSION
    event_id: str = Field(description="The same for every delivery of this event")
    type: EventType | CountType
    site: str
    stream: str
    session: int
    seq: int
    pts: float
    captured_at: datetime = Field(description="When that frame was taken")
    clock: Clock = KNOWN_BY
    uncertainty: float | None = UNCERTAINTY


class TrackEvent(_Event):
    """A track started, changed, ended, or did something in a zone or at a line: durable, on
    `<prefix>.events.<stream>.<type>`.

    `zone` or `line`, and what goes with them, are there only in the events of such; `changed`, `best` and `zones` only
    in `track.updated`.
    """

    type: EventType
    seq: int = Field(description="The frame in which it happened")
    track_id: int
    track_uid: str = Field(description="stream/session/track_id: the track's name across streams and restarts")
    class_id: int
    class_name: str
    confidence: float = Field(ge=0, le=1, description="Highest score of the track so far")
    box: Box
    frame: Size
    started_at: datetime
    frames: int = Field(description="Frames the track was seen in")
    reason: EndReason | None = Field(None, description="Why the track ended, and with it its stay in a zone")
    zone: str | None = Field(None, exclude_if=ABSENT, description="Name of the zone")
    line: str | None = Field(None, exclude_if=ABSENT, description="Name of the line")
    direction: Literal["left", "right"] | None = Field(
        None,
        exclude_if=ABSENT,
        description="The side the track went to, looking from the line's start to its end",
    )
    duration_s: float | None = Field(
        None, exclude_if=ABSENT, description="Seconds of media time in the zone: so far, or in all when it was left"
    )
    count: int | None = Field(None, exclude_if=ABSENT, description="Objects in the zone after this event")
    speed_mps: float | None = Speed
    speed_heights: float | None = Field(
        None, exclude_if=ABSENT, ge=0, description="Picture heights per second, where the ground is not known"
    )
    heading: float | None = Heading
    changed: list[Change] | None = Field(
        None, exclude_if=ABSENT, description="What is new since the track's start or the update before"
    )
    best: BestView | None = Field(None, exclude_if=ABSENT, description="The track's best view so far")
    zones: list[str] | None = Field(None, exclude_if=ABSENT, description="The zones it has been in so far, in order")
    summary: Summary | None = Field(None, exclude_if=ABSENT, description="With the end of a track")
    global_id: str | None = GlobalId
    global_confidence: float | None = GlobalConfidence
    media: Media | None = Field(None, exclude_if=ABSENT, description="Where the stream has snapshots or clips")
    model: Model
    config_rev: str


class Counted(Message):
    """How many there were of a class and, at a line, in a direction."""

    class_name: str
    direction: Literal["left", "right"] | None = Field(None, exclude_if=ABSENT)
    count: int = Field(description="Since the report before")
    windows: dict[str, int] = Field(description="In the last so many seconds, by the line's or zone's `windows`")


class CountEvent(_Event):
    """How many entered a zone or crossed a line, told once in `every`: durable, beside the events of tracks."""

    type: CountType
    seq: int = Field(description="The frame with which the time was up")
    zone: str | None = Field(None, exclude_if=ABSENT, description="Name of the zone")
    line: str | None = Field(None, exclude_if=ABSENT, description="Name of the line")
    over_s: float = Field(description="Seconds of media time since the report before")
    counts: list[Counted] = Field(description="Of those that had any")
    model: Model
    config_rev: str


EVENT: TypeAdapter[TrackEvent | CountEvent] = TypeAdapter(TrackEvent | CountEvent)
"""Reads any message on `<prefix>.events.>`."""
