"""Messages as bytes: JSON, and for frame results MessagePack where it is asked for."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeVar

import ormsgpack

from ingest.errors import VigilError
from publish.schema.base import Message

JSON, MSGPACK = "application/json", "application/msgpack"
Format = Literal["json", "msgpack"]
CONTENT_TYPES: dict[Format, str] = {"json": JSON, "msgpack": MSGPACK}

M = TypeVar("M", bound=Message)


class UnreadableError(VigilError):
    """A message's body is not what its headers say, or of a kind that this version does not know."""

    code = "message.unreadable"


def encode(message: Message, content_type: str) -> bytes:
    """The same fields and values in either; times are text in both."""
    if content_type == MSGPACK:
        return ormsgpack.packb(message.model_dump(mode="json"))
    return message.model_dump_json().encode()


def decode(content_type: str | None, data: bytes) -> Any:
    """A body's plain values; without a content type it is JSON, as messages were before 1.3.

    Raises:
        UnreadableError
    """
    try:
        match content_type:
            case None | "application/json":
                return json.loads(data)
            case "application/msgpack":
                return ormsgpack.unpackb(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"content-type {content_type}: {error}") from None
    raise UnreadableError(f"content-type {content_type!r} is none of {JSON}, {MSGPACK}")


def read(message: type[M], content_type: str | None, data: bytes) -> M:
    """A body as the message that it is.

    Raises:
        UnreadableError
    """
    try:
        if content_type in (None, JSON):
            return message.model_validate_json(data)
        return message.model_validate(decode(content_type, data))
    except ValueError as error:
        raise UnreadableError(f"{message.__name__}: {error}") from None
