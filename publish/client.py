"""A client of Vigil for other programs: `subscribe` gives its events, `frames` what it sees in each frame.

Loads nothing that detects or decodes, so that it is light to import.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ConfigDict, ValidationError

from publish.config import NatsConfig
from publish.connection import RETRY_S, connect
from publish.history import Beginning, History
from publish.schema import EVENT, CountEvent, FrameResult, Message, TrackEvent
from publish.schema.wire import UnreadableError, read
from publish.subjects import Subjects
from publish.trouble import Code, NatsError, of_permission

log = logging.getLogger("vigil.client")

# Frame results that are taken too slowly: the oldest go.
MAX_FRAMES = 256
# Ids of events that were taken, of which no other is given.
MAX_TAKEN = 10_000

Typed = TypeVar("Typed")


class OtherEvent(Message):
    """An event that this version does not know, of a newer Vigil: what is not named here is there as attributes too."""

    model_config = ConfigDict(frozen=True, extra="allow")

    event_id: str
    type: str
    site: str
    stream: str
    captured_at: datetime


Event = TrackEvent | CountEvent | OtherEvent


async def subscribe(
    url: str | NatsConfig = "nats://127.0.0.1:4222",
    *,
    site: str = "local",
    streams: Iterable[str] = (),
    types: Iterable[str] = (),
    durable: str | None = None,
    since: datetime | Beginning | None = None,
    follow: bool = True,
    wait: bool = True,
    prefix: str | None = None,
    **login: Any,
) -> AsyncGenerator[Event, None]:
    """Vigil's events, as they happen or from a time on: `async for event in subscribe("nats://nats.local", site="hq")`.

    They come in order for each stream, and are never lost while Vigil's JetStream stream keeps them: when NATS or the
    network goes away, the loop waits, for ever if need be, and goes on where it was.

    With a `durable` name the place is kept in NATS, under that name: the program ends, starts again and goes on where
    it left off. An event counts as taken when the loop asks for the next one. One whose handling ended in an exception,
    a `break` or a crash comes again at the next start: so events come at least once, and each once within a run. One
    program at a time can use a name.

    Args:
        url: The NATS server, or several separated by commas; or what Vigil's config says of it.
        site: Whose events: the `site` of Vigil's config.
        streams: Only those of these streams.
        types: Only those of these types, such as `track.started`.
        durable: A name to remember the place by; letters, digits, - and _.
        since: A time of the past, or `"beginning"`: first those since then. Default: only new ones. With a durable
            name it matters the first time only.
        follow: Whether to go on when the past is told; else it ends there.
        wait: Whether to wait for NATS and Vigil to be there at first; else that is a NatsError.
        prefix: First tokens of the subjects, if Vigil's config has a `nats.prefix`.
        login: Settings of `nats` in Vigil's config: `user` and `password`, `token`, `nkey`, `credentials`, `tls`.

    Yields:
        `publish.schema.TrackEvent` or `CountEvent`; an `OtherEvent` for what a newer Vigil tells.

    Raises:
        NatsError: with `wait=False`, or when the login's files are missing. Its `code` says what it is.
        pydantic.ValidationError: the login's settings are none.
    """
    subjects = Subjects(prefix or f"vigil.{site}")
    wanted = [subjects.event(stream, kind) for stream in _all_of(streams, "*") for kind in _all_of(types, ">")]
    broken = asyncio.Event()
    client = await _connected(_config(url, login), wait, broken)
    taken: deque[str] = deque(maxlen=MAX_TAKEN)
    known: set[str] = set()
    history = History(client, broken, wanted, durable, since, follow, wait)
    try:
        async with aclosing(history.messages()) as messages:
            async for message in messages:
                event = _event(message)
                if event is not None and event.event_id not in known:
                    yield event
                    if len(taken) == MAX_TAKEN:
                        known.discard(taken[0])
                    taken.append(event.event_id)
                    known.add(event.event_id)
                await history.done(message)
    finally:
        await client.close()


async def frames(
    url: str | NatsConfig = "nats://127.0.0.1:4222",
    *,
    site: str = "local",
    streams: Iterable[str] = (),
    wait: bool = True,
    prefix: str | None = None,
    **login: Any,
) -> AsyncGenerator[FrameResult, None]:
    """What Vigil sees in each frame, as it sees it: `async for frame in frames("nats://nats.local", site="hq")`.

    Nothing is kept: what was told while nobody listened is gone, and so are the oldest of 256 waiting ones when they
    are taken too slowly. The arguments are as in `subscribe`.
    """
    subjects = Subjects(prefix or f"vigil.{site}")
    client = await _connected(_config(url, login), wait, asyncio.Event())
    waiting: deque[Msg] = deque(maxlen=MAX_FRAMES)
    arrived = asyncio.Event()
    told = False

    async def receive(message: Msg) -> None:
        nonlocal told
        if len(waiting) == MAX_FRAMES and not told:
            told = True
            log.warning("frame results are taken too slowly: the oldest are dropped")
        waiting.append(message)
        arrived.set()
        await asyncio.sleep(0)

    try:
        for stream in _all_of(streams, "*"):
            await client.subscribe(subjects.frames(stream), cb=receive)
        while True:
            await arrived.wait()
            arrived.clear()
            while waiting:
                frame = _frame(waiting.popleft())
                if frame is not None:
                    yield frame
    finally:
        await client.close()


def _all_of(chosen: Iterable[str], every: str) -> Iterator[str]:
    """Those chosen; one that stands for all when there are none. A single string is one of them."""
    several = [chosen] if isinstance(chosen, str) else list(chosen)
    yield from several or [every]


def _config(url: str | NatsConfig, login: dict[str, Any]) -> NatsConfig:
    return NatsConfig(url=url, **login) if isinstance(url, str) else url


async def _connected(config: NatsConfig, wait: bool, broken: asyncio.Event) -> Client:
    last = ""

    def tell(error: Exception) -> None:
        nonlocal last
        found = of_permission(error)
        words = str(found[0] if found is not None else error)
        if words != last:
            last = words
            log.warning("NATS: %s", words)

    while True:
        try:
            return await connect(config, config.url, "vigil client", tell=tell, broken=broken)
        except NatsError as error:
            if not wait or error.trouble.code is Code.LOGIN:
                raise
            tell(error)
            await asyncio.sleep(RETRY_S)


def _frame(message: Msg) -> FrameResult | None:
    """JSON or MessagePack, as its headers say."""
    try:
        return read(FrameResult, (message.headers or {}).get("content-type"), message.data)
    except UnreadableError as error:
        log.warning("a message on %s is left out: %s", message.subject, error)
        return None


def _event(message: Msg) -> Event | None:
    try:
        return EVENT.validate_json(message.data)
    except ValidationError:
        pass
    try:
        return OtherEvent.model_validate_json(message.data)
    except ValidationError as error:
        log.warning("a message on %s is left out: %s", message.subject, error.errors(include_input=False)[0]["msg"])
        return None
