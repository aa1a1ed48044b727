"""The messages on NATS, version 1. Within a major version fields are only added."""

from __future__ import annotations

import operator
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from inference.detections import Detections
from inference.model import ModelInfo
from ingest.frame import Clock, Frame
from tracking.events import EndReason, Event, EventType
from tracking.tracks import Tracks

SCHEMA_VERSION = "1.1"

KNOWN_BY = Field(
    Clock.ARRIVAL,
    description="How captured_at is known: by the camera's own clock (`rtcp`), or by when its frames arrive here",
)
UNCERTAINTY = Field(
    None, ge=0, description="Seconds by which captured_at may be wrong; null for files, whose times nobody knows"
)
Box = Annotated[
    tuple[float, float, float, float],
    Field(description="x1, y1, x2, y2 in pixels of the source frame, origin top left"),
]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class Size(Message):
    """Pixels."""

    width: int
    height: int


class Model(Message):
    """The model behind a message."""

    name: str
    hash: str = Field(description="First 16 hex digits of the SHA-256 of the weights file")
    runtime: str

    @classmethod
    def of(cls, info: ModelInfo) -> Model:
        return cls(name=info.name, hash=info.hash, runtime=info.runtime)


# A field that is not in the JSON when it is None; in C, as it is asked for every object.
_ABSENT = partial(operator.is_, None)


class MaskSeen(Message):
    """An object's pixels, as `pycocotools.mask.decode` reads them: runs over the whole frame, down its columns."""

    size: tuple[int, int] = Field(description="Height and width of the source frame")
    counts: str = Field(description="COCO's compressed run lengths, outside first")


Point = tuple[float, float]
Keypoint = Annotated[
    tuple[float, float, float], Field(description="x, y in pixels of the source frame, and the model's confidence")
]


class ObjectSeen(Message):
    """One object in one frame. `track_id` is null for a box that belongs to no confirmed track.

    `mask`, `keypoints` and `corners` are there only when the model finds such, the detector saw the object in this very
    frame, and there was room for them.
    """

    track_id: int | None = Field(description="Unique within stream and session")
    class_id: int
    class_name: str
    confidence: float = Field(ge=0, le=1)
    box: Box
    mask: MaskSeen | None = Field(None, exclude_if=_ABSENT)
    keypoints: list[Keypoint] | None = Field(None, exclude_if=_ABSENT, description="In the model's order")
    corners: tuple[Point, Point, Point, Point] | None = Field(
        None, exclude_if=_ABSENT, description="Of the oriented box, one way round; may lie outside of the frame"
    )


class FrameResult(Message):
    """What was seen in one analysed frame: ephemeral, on `<prefix>.frames.<stream>`."""

    schema_version: str = SCHEMA_VERSION
    site: str
    stream: str
    session: int = Field(description="The uninterrupted connection; grows with each reconnect and restart")
    seq: int = Field(description="Number of the decoded frame in its session; gaps are dropped or skipped frames")
    pts: float = Field(description="Media time in seconds from the session's first frame")
    captured_at: datetime = Field(description="When the picture was taken, as well as that is known")
    clock: Clock = KNOWN_BY
    uncertainty: float | None = UNCERTAINTY
    latency_ms: float = Field(description="From the frame's arrival to this message, in milliseconds")
    frame: Size
    model: Model
    config_rev: str
    objects: list[ObjectSeen]


class TrackEvent(Message):
    """A track started, ended, or did something in a zone or at a line: durable, on `<prefix>.events.<stream>.<type>`.

    `zone` or `line`, and what goes with them, are there only in the events of such.
    """

    schema_version: str = SCHEMA_VERSION
    event_id: str = Field(description="The same for every delivery of this event")
    type: EventType
    site: str
    stream: str
    session: int
    seq: int = Field(description="The frame in which it happened")
    pts: float
    captured_at: datetime = Field(description="When that frame was taken")
    clock: Clock = KNOWN_BY
    uncertainty: float | None = UNCERTAINTY
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
    zone: str | None = Field(None, exclude_if=_ABSENT, description="Name of the zone")
    line: str | None = Field(None, exclude_if=_ABSENT, description="Name of the line")
    direction: Literal["left", "right"] | None = Field(
        None,
        exclude_if=_ABSENT,
        description="The side the track went to, looking from the line's start to its end",
    )
    duration_s: float | None = Field(
        None, exclude_if=_ABSENT, description="Seconds of media time in the zone: so far, or in all when it was left"
    )
    count: int | None = Field(None, exclude_if=_ABSENT, description="Objects in the zone after this event")
    model: Model
    config_rev: str


class StreamStatus(Message):
    """A stream's state changed: the last one is kept, on `<prefix>.status.<stream>`."""

    schema_version: str = SCHEMA_VERSION
    site: str
    stream: str
    state: str
    session: int | None = None
    reason: str | None = Field(None, description="Why it left the live state")
    detail: str | None = None
    retry_in: float | None = Field(None, description="Seconds until the next attempt")
    description: str | None = Field(None, description="Codec, size and rate of a live stream")
    at: datetime
    model: Model
    config_rev: str


MESSAGES: dict[str, type[Message]] = {"frame": FrameResult, "event": TrackEvent, "status": StreamStatus}


def when(ns: int) -> datetime:
    """UTC time, to the microsecond, of ns since the epoch."""
    return datetime.fromtimestamp(ns // 1000 / 1e6, UTC)


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e9, 6)


def _box(values: list[float] | tuple[float, ...]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(value, 2) for value in values)
    return x1, y1, x2, y2


def _rounded(values: NDArray[np.float32], digits: int) -> list[Any]:
    return values.astype(np.float64).round(digits).tolist()  # type: ignore[no-any-return]


def _details(detections: Detections, row: int) -> dict[str, Any]:
    """What is known of this detection beside its box, as fields of `ObjectSeen`."""
    details: dict[str, Any] = {}
    mask = detections.masks[row] if detections.masks is not None else None
    if mask is not None:
        details["mask"] = {"size": (mask.height, mask.width), "counts": mask.counts}
    if detections.keypoints is not None and not np.isnan(detections.keypoints[row]).any():
        points = detections.keypoints[row]
        details["keypoints"] = [(*at, sure) for at, sure in zip(
            _rounded(points[:, :2], 2), _rounded(points[:, 2], 4), strict=True)]  # fmt: skip
    if detections.corners is not None and not np.isnan(detections.corners[row]).any():
        details["corners"] = _rounded(detections.corners[row], 2)
    return details


def _score(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 4)


def _of_rule(event: Event) -> dict[str, Any]:
    """What only events of zones and lines have."""
    if event.place is None:
        return {}
    place = "line" if event.type is EventType.LINE_CROSSED else "zone"
    duration_s = None if event.duration_s is None else round(event.duration_s, 3)
    return {place: event.place, "direction": event.direction, "duration_s": duration_s, "count": event.count}


class Composer:
    """Turns a stream's contracts into its messages."""

    def __init__(self, site: str, model: ModelInfo, config_rev: str, confidence: float) -> None:
        """`confidence` is the least score of a reported box that belongs to no track."""
        self._confidence = confidence
        self._site = site
        self._model = Model.of(model)
        self._names = model.names
        self._config_rev = config_rev

    def frame_result(self, frame: Frame, detections: Detections, tracks: Tracks, now_ns: int) -> FrameResult:
        """`now_ns` is the monotonic time at which the result is published."""
        seen, found = tracks.detection_rows, len(detections)
        # Boxes as the detector saw them; the tracker's own where it coasts without one.
        tracked = np.where(seen < 0, found + np.arange(len(seen)), seen)
        untracked = detections.scores > self._confidence
        untracked[seen[seen >= 0]] = False
        rows = np.concatenate([tracked, np.flatnonzero(untracked)])
        boxes = np.concatenate([detections.boxes, tracks.boxes])[rows]
        scores = np.concatenate([detections.scores, tracks.scores])[rows]
        class_ids = np.concatenate([tracks.class_ids, detections.class_ids[untracked]]).tolist()
        track_ids = [*tracks.track_ids.tolist(), *repeat(None, len(rows) - len(seen))]
        # One validation of plain values costs a third of one for each object.
        objects: list[dict[str, Any]] = [
            {"track_id": track_id, "class_id": class_id, "class_name": self._names[class_id], "confidence": score,
             "box": box}
            for track_id, class_id, score, box in zip(
                track_ids, class_ids, _rounded(scores.clip(0, 1), 4), _rounded(boxes, 2), strict=True)
        ]  # fmt: skip
        if not detections.is_plain:
            for told, row in zip(objects, rows.tolist(), strict=True):
                if row < found:
                    told.update(_details(detections, row))
        return FrameResult(
            site=self._site,
            stream=frame.stream,
            session=frame.session,
            seq=frame.seq,
            pts=frame.pts_ns / 1e9,
            captured_at=when(frame.captured_at),
            clock=frame.clock,
            uncertainty=_seconds(frame.uncertainty_ns),
            latency_ms=round((now_ns - frame.arrival_ns) / 1e6, 3),
            frame=Size(width=frame.width, height=frame.height),
            model=self._model,
            config_rev=self._config_rev,
            objects=objects,
        )

    def status(self, stream: str, state: str, at_ns: int, **details: Any) -> StreamStatus:
        """`at_ns` is ns since the epoch; `details` are fields of the message."""
        return StreamStatus(
            site=self._site,
            stream=stream,
            state=state,
            at=when(at_ns),
            model=self._model,
            config_rev=self._config_rev,
            **details,
        )

    def event(self, event: Event) -> TrackEvent:
        return TrackEvent(
            event_id=f"{self._site}-{event.event_id}",
            type=event.type,
            site=self._site,
            stream=event.stream,
            session=event.session,
            seq=event.seq,
            pts=event.pts_ns / 1e9,
            captured_at=when(event.captured_at),
            clock=event.clock,
            uncertainty=_seconds(event.uncertainty_ns),
            track_id=event.track_id,
            track_uid=event.track_uid,
            class_id=event.class_id,
            class_name=self._names[event.class_id],
            confidence=_score(event.confidence),
            box=_box(event.box),
            frame=Size(width=event.frame_width, height=event.frame_height),
            started_at=when(event.started_at),
            frames=event.frames,
            reason=event.reason,
            **_of_rule(event),
            model=self._model,
            config_rev=self._config_rev,
        )
