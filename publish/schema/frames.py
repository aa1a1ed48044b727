"""What was seen in one frame."""

from __future__ import annotations

import operator
from datetime import datetime
from typing import Annotated

from pydantic import Field

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

    `speed_mps` and `heading` are there only for streams whose `ground` is known.

    `mask`, `keypoints` and `corners` are there only when the model finds such, the detector saw the object in this very
    frame, and there was room for them.
    """

    track_id: int | None = Field(description="Unique within stream and session")
    class_id: int
    class_name: str
    confidence: float = Field(ge=0, le=1)
    box: Box
    mask: MaskSeen | None = Field(None, exclude_if=ABSENT)
    keypoints: list[Keypoint] | None = Field(None, exclude_if=ABSENT, description="In the model's order")
    corners: tuple[Point, Point, Point, Point] | None = Field(
        None, exclude_if=ABSENT, description="Of the oriented box, one way round; may lie outside of the frame"
    )
    speed_mps: float | None = Speed
    heading: float | None = Heading
    global_id: str | None = GlobalId
    global_confidence: float | None = GlobalConfidence


class FrameResult(Message):
    """What was seen in one frame: ephemeral, on `<prefix>.frames.<stream>`."""

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
    analysed: bool = Field(
        True,
        exclude_if=operator.truth,
        description="There, and false, when the detector was not asked about this frame (`attention`): the objects are "
        "the known tracks, where they must be by now",
    )
