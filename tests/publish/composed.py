"""One message of every kind, made as the service makes them."""

from __future__ import annotations

import av
import numpy as np

from inference.detections import Detections
from inference.input import InputSpec
from inference.model import ModelInfo
from ingest.clock import NS, Clock
from ingest.frame import Frame
from publish.schema import CountEvent, FrameResult, StreamStatus, TrackEvent
from publish.schema.composer import Composer
from tracking.events import Counted, CountReport, CountType, EndReason, Event, EventType
from tracking.tracks import Tracks

MODEL = ModelInfo("toy", "0123456789abcdef", ("person", "car"), "yolo", InputSpec(), 640, "openvino", "cpu", "fp32")
COMPOSER = Composer("hq", MODEL, "cafe0123", 0.25)
AT_NS = 1_700_000_000 * NS + 123_456_789


def frame_result(seq: int = 42, objects: int = 3) -> FrameResult:
    """Of the stream `gate` in session 7; every second object is of a track."""
    frame = Frame("gate", 7, seq, NS, NS, AT_NS, Clock.RTCP, 1_000_000, av.VideoFrame(1920, 1080, "yuv420p"))
    boxes = np.array([[100.25 * n, 10, 100.25 * n + 50, 60] for n in range(objects)], np.float32).reshape(-1, 4)
    scores, classes = np.linspace(0.9, 0.5, objects, dtype=np.float32), np.zeros(objects, np.int32)
    rows = np.arange(0, objects, 2, dtype=np.int32)
    tracks = Tracks(rows.astype(np.int64) + 1, boxes[rows], scores[rows], classes[rows], rows)
    return COMPOSER.frame_result(frame, Detections(boxes, scores, classes), tracks, 2 * NS)


def track_event(kind: EventType = EventType.TRACK_ENDED, seq: int = 42) -> TrackEvent:
    """Of the same stream and session."""
    ended = kind is EventType.TRACK_ENDED
    place = "exit" if kind.value.startswith(("zone", "line")) else None
    return COMPOSER.event(Event(
        type=kind, stream="gate", session=7, seq=seq, pts_ns=NS, captured_at=AT_NS, clock=Clock.ARRIVAL,
        uncertainty_ns=NS // 2, track_id=5, class_id=1, confidence=0.9, box=(1, 2, 3, 4), frame_width=1920,
        frame_height=1080, started_at=AT_NS - NS, frames=11, reason=EndReason.LOST if ended else None, place=place,
        direction="left" if kind is EventType.LINE_CROSSED else None,
    ))  # fmt: skip


def count_event(kind: CountType = CountType.LINE_COUNTED) -> CountEvent:
    return COMPOSER.counted(CountReport(
        kind, "gate", 7, 42, NS, AT_NS, Clock.RTCP, None, "exit", 3, 60.0,
        (Counted("person", "left", 4, {60.0: 4, 900.0: 31}),),
    ))  # fmt: skip


def status(state: str = "backoff", at_ns: int = AT_NS) -> StreamStatus:
    return COMPOSER.status("gate", state, at_ns, reason="auth", retry_in=30)
