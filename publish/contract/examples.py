"""An example of every message, as the documentation shows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.clock import Clock
from publish import headers
from publish.schema import (
    BestView,
    Counted,
    CountEvent,
    FrameResult,
    Media,
    Message,
    Model,
    ObjectSeen,
    Size,
    StreamStatus,
    Summary,
    TrackEvent,
)  # fmt: skip
from publish.schema.control import (
    Done,
    Health,
    NatsHealth,
    Problem,
    Refusal,
    Snapshot,
    StreamAdd,
    StreamChange,
    StreamDetails,
    StreamPause,
    StreamRemove,
    StreamShow,
    StreamState,
)  # fmt: skip
from publish.schema.wire import JSON
from tracking.events import Change, CountType, EndReason, EventType

AT = datetime(2026, 11, 21, 3, 7, 54, 201310, UTC)
BEGAN = AT - timedelta(seconds=4.287933)
SESSION, TRACK = 1795230433127, 7
MODEL = Model(name="yolo11n", hash="0123456789abcdef", runtime="openvino")
PICTURE = Size(width=1920, height=1080)
BOX = (101.5, 220.25, 180.0, 431.75)
OF_FRAME: dict[str, Any] = {
    "site": "hq", "stream": "gate", "session": SESSION, "seq": 412, "pts": 41.2, "captured_at": AT,
    "clock": Clock.RTCP, "uncertainty": 0.001, "model": MODEL, "config_rev": "5f0c1a2b",
}  # fmt: skip

FRAME = FrameResult(
    **OF_FRAME,
    latency_ms=38.412,
    frame=PICTURE,
    objects=[
        ObjectSeen(track_id=TRACK, class_id=0, class_name="person", confidence=0.9123, box=BOX),
        ObjectSeen(track_id=None, class_id=2, class_name="car", confidence=0.3107, box=(1204.0, 388.5, 1391.25, 470.0)),
    ],
)


def _event(kind: EventType, place: str = "", **more: Any) -> TrackEvent:
    return TrackEvent(
        **OF_FRAME, event_id=f"hq-gate-{SESSION}-{TRACK}-{kind.value}{place}", type=kind, track_id=TRACK,
        track_uid=f"gate/{SESSION}/{TRACK}", class_id=0, class_name="person", confidence=0.9123, box=BOX,
        frame=PICTURE, started_at=BEGAN, **more,
    )  # fmt: skip


SUMMARY = Summary(
    best=BestView(seq=398, pts=39.8, captured_at=AT - timedelta(seconds=1.4), box=BOX, confidence=0.9123),
    class_confidence=0.8511, duration_s=4.288, distance_heights=0.412,
    path=[(36.912, 88.0, 420.5), (41.2, 140.8, 431.8)], zones=["drive"],
)  # fmt: skip
_NAME = f"gate/{AT:%Y-%m-%d}/hq-gate-{SESSION}-{TRACK}-track.ended"
MEDIA = Media(
    snapshot=f"{_NAME}.jpg", crop=f"{_NAME}-crop.jpg", clip=f"{_NAME}.mp4", seq=398,
    captured_at=AT - timedelta(seconds=1.4),
)  # fmt: skip
EVENTS = [
    _event(EventType.TRACK_STARTED, frames=3),
    _event(EventType.TRACK_UPDATED, "-1", frames=28, changed=[Change.ZONES, Change.IDENTITY], best=SUMMARY.best,
           zones=["drive"], global_id="t6x2k9-4", global_confidence=0.94),
    _event(EventType.ZONE_LEFT, "-drive-1", frames=40, zone="drive", duration_s=3.2, count=1, speed_heights=0.11,
           heading=92.5),
    _event(EventType.LINE_CROSSED, "-exit-1", frames=41, line="exit", direction="left"),
    _event(EventType.TRACK_ENDED, frames=43, reason=EndReason.LOST, summary=SUMMARY, media=MEDIA),
]  # fmt: skip
COUNT = CountEvent(
    **OF_FRAME, event_id=f"hq-gate-{SESSION}-line.counted-exit-3", type=CountType.LINE_COUNTED, line="exit",
    over_s=60.0, counts=[Counted(class_name="person", direction="left", count=4, windows={"60": 4, "900": 31})],
)  # fmt: skip
STATUS = StreamStatus(
    site="hq", stream="gate", state="backoff", session=SESSION, reason="auth", detail="the camera refuses the login",
    retry_in=30.0, at=AT, model=MODEL, config_rev="5f0c1a2b",
)  # fmt: skip

STATE: dict[str, Any] = {
    "id": "gate", "state": "live", "session": SESSION, "description": "h264 1920x1080 25 fps", "frames": 413,
    "tracks": 1, "model": MODEL,
}  # fmt: skip
DETAILS = StreamDetails(
    **STATE, config_rev="5f0c1a2b", settings={"url": "rtsp://user:***@10.0.0.12/stream1", "fps": 10}
)
ASKED: dict[str, Message] = {
    "streams.show": StreamShow(id="gate"),
    "streams.add": StreamAdd(id="yard", settings={"url": "rtsp://10.0.0.13/stream1", "fps": 5}),
    "streams.change": StreamChange(id="gate", changes={"fps": 10}, keep=False),
    "streams.remove": StreamRemove(id="yard"),
    "streams.pause": StreamPause(id="gate"),
    "streams.resume": StreamPause(id="gate", keep=False),
    "snapshot": Snapshot(id="gate", boxes=True),
}
ANSWERED: dict[str, Any] = {
    "streams.list": [StreamState(**STATE)],
    "streams.show": DETAILS,
    "streams.add": DETAILS,
    "streams.change": DETAILS,
    "streams.remove": Done(),
    "streams.pause": StreamDetails(**{**STATE, "state": "paused"}, config_rev="5f0c1a2b", settings={"paused": True}),
    "streams.resume": DETAILS,
    "health": Health(
        status="not ready", model=True, workers=True, nats=False,
        nats_state=NatsHealth(state="disconnected", troubles=["nats.auth"]),
    ),
}  # fmt: skip
REFUSAL = Refusal(
    code="config.invalid",
    detail="streams.yard.fps: must be more than 0",
    problems=[Problem(code="config.range", path="streams.yard.fps", value="-1", message="must be more than 0",
                      mend="give a number of frames a second, such as 5")],
)  # fmt: skip


def plain(message: Any) -> Any:
    """As it is in a body."""
    if isinstance(message, list):
        return [plain(one) for one in message]
    return message.model_dump(mode="json")


def bodies() -> Iterator[tuple[str, Any]]:
    """Every example, with the name of its schema."""
    yield "frame", plain(FRAME)
    yield from (("event", plain(event)) for event in EVENTS)
    yield "count", plain(COUNT)
    yield "status", plain(STATUS)
    yield from ((f"control.{name}.request", asked.model_dump(mode="json")) for name, asked in ASKED.items())
    yield from ((f"control.{name}.answer", plain(answer)) for name, answer in ANSWERED.items())
    yield "control.refusal", plain(REFUSAL)


def heads() -> Iterator[tuple[str, dict[str, str]]]:
    """The headers of the examples that Vigil sends by itself, in the same order."""
    yield "frame", one_by_one(headers.of_frame(FRAME, JSON))
    yield from (("event", headers.of_event(event)) for event in EVENTS)
    yield "count", headers.of_event(COUNT)
    yield "status", headers.of_status(STATUS)


def one_by_one(written_out: dict[str, str]) -> dict[str, str]:
    """A frame result's headers as they arrive."""
    lines = "\r\n".join(f"{name}: {value}" for name, value in written_out.items()).split("\r\n")
    return dict(line.split(": ", 1) for line in lines)
