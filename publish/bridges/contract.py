"""The contract of a bridge: what it is given, and how it says that a delivery failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

from ingest.errors import VigilError
from publish.subjects import Subjects

if TYPE_CHECKING:
    from nats.aio.client import Client


class Told(BaseModel):
    """What bridges need to know of an event; of types yet unknown too, as what they do not know they pass on."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    type: str
    stream: str
    session: int
    track_id: int | None = None
    class_name: str | None = None
    confidence: float | None = None
    zone: str | None = None
    line: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to a peer.

    Attributes:
        sequence: its number in the events stream; grows with every event of the site.
        body: the event's JSON, as it was published.
        headers: those it was published with.
    """

    event: Told
    sequence: int
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scene:
    """What can be seen in a stream: its zones, each with the classes that count there, and the stream's own.

    Empty classes: any, or not known beforehand.
    """

    classes: tuple[str, ...] = ()
    zones: Mapping[str, tuple[str, ...]] = ()  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a bridge lives among.

    Attributes:
        name: its own, in the config.
        nats: the connection to NATS; it comes back by itself.
        scenes: the streams at present.
    """

    site: str
    name: str
    version: str
    nats: Client
    subjects: Subjects
    scenes: Callable[[], Mapping[str, Scene]]


class DeliveryError(VigilError):
    """An event was not delivered. `code` says why, one of a few, as it labels a metric; the message has no secrets."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RetryableError(DeliveryError):
    """It may well be later: the peer is away, busy or broken. `after_s`: not before so many seconds, if it said so."""

    def __init__(self, code: str, message: str, after_s: float = 0.0) -> None:
        super().__init__(code, message)
        self.after_s = after_s


class FinalError(DeliveryError):
    """The peer does not want it, and will not want it later."""


class Bridge(Protocol):
    """Delivers to one peer. Lives in one asyncio loop; `deliver` is called for several streams at once."""

    @property
    def peer(self) -> str:
        """Who gets the events, for people: no credentials."""
        ...

    @property
    def subjects(self) -> list[str]:
        """The subjects of the events that it may want; none overlaps another."""
        ...

    @property
    def trouble(self) -> DeliveryError | None:
        """What keeps it from its peer just now, if it knows without trying."""
        ...

    def wants(self, event: Told) -> bool:
        """Whether an event is to be delivered."""
        ...

    async def run(self) -> None:
        """Holds what deliveries need, such as a connection, until cancelled. Trouble with the peer does not end it."""
        ...

    async def deliver(self, delivery: Delivery) -> None:
        """Returns when the peer has the event. It may be called again with one that was delivered: after a crash.

        Raises:
            RetryableError, FinalError
        """
        ...
