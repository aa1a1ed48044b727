"""How a stream is doing."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from publish.schema.base import SCHEMA_VERSION, Message, Model


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
