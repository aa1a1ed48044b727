"""Reading events back from NATS, for the commands that show them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import nats
import nats.errors
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from ingest.errors import VigilError
from ingest.redact import redact
from publish.schema import TrackEvent
from publish.subjects import EVENTS_STREAM, Subjects
from vigil.config import VigilConfig
from vigil.state import StateFolder


class SubscribeError(VigilError):
    code = "events.unavailable"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a site's messages are."""

    url: str
    subjects: Subjects
    credentials: Path | None = None


def address_of(config: VigilConfig) -> Address:
    """Where the service with this config publishes; it must be running when its NATS server is embedded.

    Raises:
        SubscribeError: it is not running.
    """
    subjects = Subjects(config.nats.prefix or f"vigil.{config.site}")
    if config.nats.url != "embedded":
        return Address(config.nats.url, subjects, config.nats.credentials)
    addresses = StateFolder(config.state_folder).addresses()
    if addresses is None:
        raise SubscribeError(
            f"no Vigil is running for site {config.site!r} (looked in {config.state_folder}); start it, or give --nats "
            "URL"
        )
    return Address(addresses.nats, subjects)


async def connect(address: Address, reconnects: int) -> Client:
    """A connection to a site's NATS server, made again so many times when it breaks; -1: always.

    Raises:
        SubscribeError: it cannot be made.
    """
    options = {"user_credentials": str(address.credentials)} if address.credentials else {}
    try:
        return await nats.connect(
            address.url.split(","), connect_timeout=3, max_reconnect_attempts=reconnects, error_cb=ignore, **options
        )
    except (OSError, nats.errors.Error, TimeoutError) as error:
        raise SubscribeError(f"cannot connect to NATS at {redact(address.url)}: {redact(str(error))}") from None


async def events(
    address: Address, stream: str | None = None, event_type: str | None = None, since: datetime | None = None
) -> AsyncIterator[TrackEvent]:
    """Events as they happen, after those since a time; runs until cancelled.

    Raises:
        SubscribeError: NATS cannot be reached or has no events stream.
    """
    client = await connect(address, reconnects=-1)
    policy = DeliverPolicy.NEW if since is None else DeliverPolicy.BY_START_TIME
    try:
        subscription = await client.jetstream().subscribe(
            address.subjects.event(stream or "*", event_type or ">"),
            stream=EVENTS_STREAM,
            ordered_consumer=True,
            config=ConsumerConfig(deliver_policy=policy, opt_start_time=since),
        )
        async for message in subscription.messages:
            yield TrackEvent.model_validate_json(message.data)
    except NotFoundError:
        raise SubscribeError(f"there is no {EVENTS_STREAM} stream at {redact(address.url)}: has Vigil run?") from None
    except (nats.errors.Error, JetStreamError) as error:
        raise SubscribeError(f"events cannot be read: {redact(str(error))}") from None
    finally:
        await client.close()


async def ignore(error: Exception) -> None:
    """nats-py reconnects by itself; its default is to print every attempt."""
    await asyncio.sleep(0)


def event_line(event: TrackEvent) -> str:
    """One event for people, within 80 columns: `12:00:01 gate  track.ended  person 7 (0.91)  4.2 s, lost`."""
    who = f"{event.class_name} {event.track_id} ({event.confidence:.2f})"
    told = f"{event.captured_at.astimezone():%H:%M:%S} {event.stream:<10} {event.type.value:<14} {who:<22}  "
    return (told + _about(event)).rstrip()


def _about(event: TrackEvent) -> str:
    if event.line is not None:
        return f"{event.line} to the {event.direction}"
    if event.zone is not None:
        stay = "" if event.duration_s is None else f", {event.duration_s:.1f} s"
        return f"{event.zone}{stay}, {event.count} there"
    life_s = (event.captured_at - event.started_at).total_seconds()
    return f"{life_s:.1f} s, {event.reason.value}" if event.reason else ""
