"""Headers of the messages: CloudEvents 1.0 in binary mode, a W3C trace context, and what JetStream drops repeats by.

| header           | in      | holds                                                                            |
|------------------|---------|----------------------------------------------------------------------------------|
| `ce-specversion` | all     | `1.0`                                                                            |
| `ce-id`          | all     | with the source: which message this is, the same for every delivery             |
| `ce-source`      | all     | `/vigil/<site>/<stream>`                                                         |
| `ce-type`        | all     | `vigil.frame`, `vigil.status`, or `vigil.` and the event's type                  |
| `ce-time`        | all     | when the picture was taken; of a state, when it began                            |
| `ce-subject`     | all     | what it is about: the track's `track_uid`, `<stream>/line/<name>`, or the stream |
| `ce-dataschema`  | all     | the `$id` of the body's JSON Schema                                              |
| `content-type`   | all     | `application/json`, or `application/msgpack`                                     |
| `traceparent`    | frames, events | the frame's trace: see `traceparent`                                      |
| `Nats-Msg-Id`    | events, states | as `ce-id`                                                                |

Sites, streams, zones and lines have names that need no escaping in a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from publish.schema.base import SCHEMA_VERSION
from publish.schema.events import CountEvent, TrackEvent
from publish.schema.wire import JSON, MSGPACK

if TYPE_CHECKING:
    from publish.schema.frames import FrameResult
    from publish.schema.status import StreamStatus

TRACE_KEY = b"vigil"
"""What frames' trace ids are hashed with: another program's of the same names are others."""
# W3C's flags: whether this frame's trace is recorded. Where none is, as it asks of who leaves that to others.
NOT_SAMPLED, SAMPLED = "00", "01"
# Streams come and go; a stream has a new session with each connection.
REMEMBERED = 1024


def schema_id(name: str) -> str:
    """The `$id` of a message's JSON Schema, for the major version: within it messages only gain."""
    return f"urn:vigil:messages:{SCHEMA_VERSION.partition('.')[0]}:{name}"


def traceparent(site: str, stream: str, session: int, seq: int, share: float = 0.0) -> str:
    """The W3C trace context of a frame and of all that is told of it.

    BLAKE2b with 24 bytes of digest and the key `vigil`, of `<site>/<stream>/<session>/<seq>`: the first 16 bytes are
    the trace's id, the last 8 that of the span which Vigil's work on the frame is. Who knows the frame knows its trace:
    nothing has to be carried through the stages. `share` of the frames are sampled.
    """
    return _trace(_of_session(site, stream, session), seq, share)


def trace_of(site: str, stream: str, session: int, seq: int) -> tuple[str, str]:
    """The ids of a frame's trace and of the span in it that is Vigil's work on the frame."""
    return _ids(_of_session(site, stream, session), seq)


def is_sampled(trace_id: str, share: float) -> bool:
    """Whether a trace is one of those that are recorded: as OpenTelemetry's TraceIdRatioBased decides."""
    return int(trace_id[16:], 16) < share * 2**64


@lru_cache(REMEMBERED)
def _of_session(site: str, stream: str, session: int) -> blake2b:
    return blake2b(f"{site}/{stream}/{session}/".encode(), digest_size=24, key=TRACE_KEY)


def _ids(session: blake2b, seq: int) -> tuple[str, str]:
    hashed = session.copy()
    hashed.update(b"%d" % seq)
    digest = hashed.hexdigest()
    return digest[:32], digest[32:]


def _trace(session: blake2b, seq: int, share: float) -> str:
    trace_id, span_id = _ids(session, seq)
    return f"00-{trace_id}-{span_id}-{SAMPLED if share and is_sampled(trace_id, share) else NOT_SAMPLED}"


def of_event(message: TrackEvent | CountEvent, share: float = 0.0) -> dict[str, str]:
    if isinstance(message, TrackEvent):
        name, subject = "event", message.track_uid
    else:
        place = f"line/{message.line}" if message.line is not None else f"zone/{message.zone}"
        name, subject = "count", f"{message.stream}/{place}"
    return {
        "Nats-Msg-Id": message.event_id,
        "ce-id": message.event_id,
        "ce-time": _rfc3339(message.captured_at),
        **_constant(message.site, message.stream, message.type.value, subject, name),
        "traceparent": traceparent(message.site, message.stream, message.session, message.seq, share),
    }


def of_status(message: StreamStatus) -> dict[str, str]:
    """A state is of no frame: it has no trace."""
    at = _rfc3339(message.at)
    name = f"{message.site}-{message.stream}-{message.state}-{at}"
    constant = _constant(message.site, message.stream, "status", message.stream, "status")
    return {"Nats-Msg-Id": name, "ce-id": name, "ce-time": at, **constant}


def of_frame(message: FrameResult, content_type: str, share: float = 0.0) -> dict[str, str]:
    """For nats-py only, which writes them to the connection as it would write them one by one.

    It strips, checks and encodes every name and value: 16 µs for these nine, where writing and publishing a result of
    five objects takes 12 (`python -m benchmarks.messages`, two cores). So they come to it as one value that is written
    out already, its constant part once for each session: 5 µs, of which it takes one.
    """
    lines, session = _lines(message.site, message.stream, message.session, content_type)
    return {
        "ce-specversion": _WrittenOut(
            f"{lines}{message.seq}\r\nce-time: {_rfc3339(message.captured_at)}\r\n"
            f"traceparent: {_trace(session, message.seq, share)}"
        )
    }


@lru_cache(REMEMBERED)
def _lines(site: str, stream: str, session: int, content_type: str) -> tuple[str, blake2b]:
    """What all frames of a session have in their headers, to the last of which their number is added."""
    constant = _constant(site, stream, "frame", stream, "frame", content_type)
    first = constant.pop("ce-specversion")
    rest = "".join(f"{name}: {value}\r\n" for name, value in constant.items())
    return f"{first}\r\n{rest}ce-id: {site}-{stream}-{session}-", _of_session(site, stream, session)


class _WrittenOut(str):
    """A header's value and the headers after it, of characters that need no check."""

    __slots__ = ()

    def strip(self, chars: str | None = None, /) -> str:
        del chars
        return self

    def translate(self, table: Any, /) -> str:
        del table
        return self


def _constant(
    site: str, stream: str, event_type: str, subject: str, name: str, content_type: str = JSON
) -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-type": f"vigil.{event_type}",
        "ce-source": f"/vigil/{site}/{stream}",
        "ce-subject": subject,
        "ce-dataschema": schema_id(name),
        "content-type": content_type,
    }


def _rfc3339(at: datetime) -> str:
    """As the bodies have it; a third of what `isoformat` takes."""
    return to_json(at)[1:-1].decode()


# -- what is told of them

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_OF_ALL: dict[str, dict[str, Any]] = {
    "ce-specversion": {"const": "1.0", "description": "Version of CloudEvents"},
    "ce-id": {**_TEXT, "description": "With the source: which message this is, the same for every delivery"},
    "ce-source": {"type": "string", "pattern": "^/vigil/[^/]+/[^/]+$", "description": "/vigil/<site>/<stream>"},
    "ce-type": {"type": "string", "pattern": r"^vigil\."},
    "ce-time": {"type": "string", "format": "date-time", "description": "When the picture was taken"},
    "ce-subject": {**_TEXT, "description": "What it is about"},
    "ce-dataschema": {**_TEXT, "format": "uri", "description": "The $id of the body's JSON Schema"},
    "content-type": {"enum": [JSON], "description": "How the body is written"},
}
_TRACE = {
    "traceparent": {
        "type": "string",
        "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "description": "W3C trace context, the same for a frame's result and its events",
    }
}
_DURABLE = {"Nats-Msg-Id": {**_TEXT, "description": "As ce-id: JetStream drops repeats by it"}}

_ABOUT: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "frame": {"ce-type": {"const": "vigil.frame"}, "content-type": {"enum": [JSON, MSGPACK]}, **_TRACE},
    "event": {"ce-subject": {**_TEXT, "description": "The track's track_uid"}, **_TRACE, **_DURABLE},
    "count": {"ce-subject": {**_TEXT, "description": "<stream>/zone/<name> or <stream>/line/<name>"}, **_TRACE,
              **_DURABLE},
    "status": {"ce-type": {"const": "vigil.status"}, "ce-time": {**_OF_ALL["ce-time"], "description": "When it began"},
               **_DURABLE},
}  # fmt: skip


def headers_schema(name: str) -> dict[str, Any]:
    """JSON Schema of the headers of a message; `name` is that of its body's."""
    told = {**_OF_ALL, **_ABOUT[name], "ce-dataschema": {**_OF_ALL["ce-dataschema"], "const": schema_id(name)}}
    return {"title": f"Headers of {name}", "type": "object", "properties": told, "required": sorted(told)}
