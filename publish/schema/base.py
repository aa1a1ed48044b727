"""What messages have in common: the version of the schema, the model behind a message, how times are known."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from ingest.clock import Clock

if TYPE_CHECKING:
    from inference.model import ModelInfo

SCHEMA_VERSION = "1.3"

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
ABSENT = partial(operator.is_, None)

Speed = Field(None, exclude_if=ABSENT, ge=0)
Heading = Field(
    None,
    exclude_if=ABSENT,
    description="Degrees clockwise from straight up in the picture, or from the ground's y where that is known; absent "
    "for what stands",
)

GlobalId = Field(
    None, exclude_if=ABSENT, description="Who it is, across the cameras of the site; never used again for another"
)
GlobalConfidence = Field(
    None, exclude_if=ABSENT, ge=0, le=1, description="How probable that is, given everyone who might be it"
)
