"""What can be asked over `<prefix>.control.…`, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field

from publish.schema.base import ABSENT, Message, Model


class Asked(Message):
    """A question: fields that nobody knows are refused, as they would do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Id = Field(description="The stream's name")
Keep = Field(True, description="Whether the change outlasts the service: it is then in a file beside the config")


class StreamShow(Asked):
    """Names a stream."""

    id: str = Id


class StreamAdd(Asked):
    """A stream to add."""

    id: str = Field(description="Its name: lower-case letters, digits, - and _")
    settings: dict[str, Any] = Field(default_factory=dict, description="As below `streams.<id>` in the config")
    keep: bool = Keep


class StreamChange(Asked):
    """What is to be different of a stream."""

    id: str = Id
    changes: dict[str, Any] = Field(
        default_factory=dict, description="A JSON merge patch of its settings (RFC 7396): null takes a setting back"
    )
    keep: bool = Keep


class StreamRemove(Asked):
    """A stream to let go of."""

    id: str = Id
    keep: bool = Keep


class StreamPause(Asked):
    """A stream whose camera is to be let go of, or taken up again."""

    id: str = Id
    keep: bool = Keep


class Snapshot(Asked):
    """Which stream's newest picture, and how."""

    id: str = Id
    boxes: bool = Field(False, description="Draw what was seen in the latest analysed frame")
    max_side: int = Field(1920, ge=64, le=8192, description="Pixels; also made smaller until it fits a message")


class StreamState(Message):
    """A stream and how it is doing."""

    id: str
    state: str
    session: int | None = Field(None, exclude_if=ABSENT, description="The uninterrupted connection")
    reason: str | None = Field(None, exclude_if=ABSENT, description="Why it left the live state")
    detail: str | None = Field(None, exclude_if=ABSENT)
    retry_in: float | None = Field(None, exclude_if=ABSENT, description="Seconds until the next attempt")
    description: str | None = Field(None, exclude_if=ABSENT, description="Codec, size and rate of a live stream")
    frames: int = Field(description="Frames analysed")
    tracks: int = Field(description="Objects followed now")
    model: Model | None = Field(None, description="The model that looks at it; null until it is loaded")


class StreamDetails(StreamState):
    """A stream, how it is doing, and its settings."""

    config_rev: str
    settings: dict[str, Any] = Field(description="Those that are set, without credentials")


class NatsHealth(Message):
    """How it stands with NATS."""

    state: str = Field(description="connected, troubled (connected, and something is wrong) or disconnected")
    troubles: list[str] = Field(description="Names of what is wrong, as nats.auth")


class Health(Message):
    """Whether the service is of use, as `/health/ready` says it."""

    status: str = Field(description="ready, or not ready")
    model: bool = Field(description="Every detector has its model")
    workers: bool = Field(description="All of them run")
    nats: bool = Field(description="All processes are connected to NATS")
    nats_state: NatsHealth


class Done(Message):
    """It is done; there is nothing more to say."""


class Problem(Message):
    """One thing wrong with what was asked."""

    code: str
    path: str = Field(description="The field")
    value: str | None = Field(description="What was given")
    message: str
    mend: str | None


class Refusal(Message):
    """What was asked is not done, and nothing has changed. `Nats-Service-Error-Code` in the headers: 400, or 500 when
    the fault is Vigil's."""

    code: str = Field(description="Stable, for programs")
    detail: str = Field(description="For people: what, where and what to do")
    problems: list[Problem] = Field([], exclude_if=lambda problems: not problems)


JPEG = "image/jpeg"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One question; `request` is None where an empty body asks it, `answer` is JPEG where that is a picture."""

    summary: str
    request: type[Asked] | None
    answer: Any


ENDPOINTS = {
    "streams.list": Endpoint("The streams and how they are doing", None, list[StreamState]),
    "streams.show": Endpoint("A stream, how it is doing, and its settings", StreamShow, StreamDetails),
    "streams.add": Endpoint("Add a stream", StreamAdd, StreamDetails),
    "streams.change": Endpoint("Change settings of a stream", StreamChange, StreamDetails),
    "streams.remove": Endpoint("Let go of a stream", StreamRemove, Done),
    "streams.pause": Endpoint("Let go of a stream's camera; the stream stays known", StreamPause, StreamDetails),
    "streams.resume": Endpoint("Take up a paused stream again", StreamPause, StreamDetails),
    "health": Endpoint("Whether the service is of use, and what is missing", None, Health),
    "snapshot": Endpoint("A stream's newest picture", Snapshot, JPEG),
}
"""By what follows `<prefix>.control.` in their subjects."""
