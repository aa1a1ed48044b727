"""The messages on NATS, version 1: what they hold. In a major version fields are only added."""

from publish.schema.base import SCHEMA_VERSION, Message, Model, Size
from publish.schema.events import EVENT, BestView, Counted, CountEvent, Media, Summary, TrackEvent
from publish.schema.frames import FrameResult, MaskSeen, ObjectSeen
from publish.schema.status import StreamStatus

MESSAGES: dict[str, type[Message]] = {
    "frame": FrameResult, "event": TrackEvent, "status": StreamStatus, "count": CountEvent
}  # fmt: skip

__all__ = [
    "EVENT",
    "MESSAGES",
    "SCHEMA_VERSION",
    "BestView",
    "CountEvent",
    "Counted",
    "FrameResult",
    "MaskSeen",
    "Media",
    "Message",
    "Model",
    "ObjectSeen",
    "Size",
    "StreamStatus",
    "Summary",
    "TrackEvent",
]
