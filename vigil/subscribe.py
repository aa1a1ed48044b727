"""Reading events back from NATS, for the commands that show them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ingest.errors import VigilError
from publish.client import Event, OtherEvent, subscribe
from publish.config import NatsConfig
from publish.schema import CountEvent, TrackEvent
from publish.subjects import Subjects
from vigil.config import VigilConfig
from vigil.load import load
from vigil.state import StateFolder


class SubscribeError(VigilError):
    code = "events.unavailable"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a site's messages are."""

    url: str
    subjects: Subjects
    config: NatsConfig = field(default_factory=lambda: NatsConfig())  # how to log in


def address_of(config: VigilConfig) -> Address:
    """Where the service with this config publishes; it must be running when its NATS server is embedded.

    Raises:
        SubscribeError: it is not running.
    """
    subjects = Subjects(config.nats.prefix or f"vigil.{config.site}")
    if config.nats.url != "embedded":
        return Address(config.nats.url, subjects, config.nats)
    addresses = StateFolder(config.state_folder).addresses()
    if addresses is None:
        raise SubscribeError(
            f"no Vigil is running for site {config.site!r} (looked in {config.state_folder}); start it, or give --nats "
            "URL"
        )
    return Address(addresses.nats, subjects)


def chosen(config: Path | None, nats_url: str | None, site: str) -> Address:
    """Where to find the service that a command is for: its config says, or its NATS server's URL and its site.

    Raises:
        ConfigError, SubscribeError
    """
    if config is None and nats_url is not None:
        return Address(nats_url, Subjects(f"vigil.{site}"))
    address = address_of(load(config) if config else VigilConfig(site=site, streams={}))
    return replace(address, url=nats_url) if nats_url else address


def events(
    address: Address, streams: Iterable[str], types: Iterable[str], since: datetime | None, follow: bool
) -> AsyncGenerator[Event, None]:
    """Events as they happen, after those since a time; without `follow` those of the past alone.

    Raises:
        NatsError: NATS cannot be reached, or has no events stream.
    """
    config = address.config.model_copy(update={"url": address.url})
    prefix = address.subjects.prefix
    return subscribe(config, prefix=prefix, streams=streams, types=types, since=since, follow=follow, wait=False)


async def ignore(error: Exception) -> None:
    """nats-py reconnects by itself; its default is to print every attempt."""
    await asyncio.sleep(0)


def event_line(event: Event) -> str:
    """One event for people, within 80 columns: `12:00:01 gate  track.ended  person 7 (0.91)  4.2 s, lost`."""
    if isinstance(event, OtherEvent):
        return f"{event.captured_at.astimezone():%H:%M:%S} {event.stream:<10} {event.type}"
    if isinstance(event, CountEvent):
        who = f"{event.line or event.zone}, {event.over_s:.0f} s"
    else:
        who = f"{event.class_name} {event.track_id} ({event.confidence:.2f})"
    told = f"{event.captured_at.astimezone():%H:%M:%S} {event.stream:<10} {event.type.value:<14} {who:<22}  "
    return (told + _about(event)).rstrip()


def _about(event: TrackEvent | CountEvent) -> str:
    if isinstance(event, CountEvent):
        kinds = [f"{one.count} {one.class_name} {one.direction or ''}".rstrip() for one in event.counts if one.count]
        return ", ".join(kinds) or "nobody"
    if event.line is not None:
        return f"{event.line} to the {event.direction}"
    if event.zone is not None:
        stay = "" if event.duration_s is None else f", {event.duration_s:.1f} s"
        return f"{event.zone}{stay}, {event.count} there"
    if event.changed is not None:
        return f"{', '.join(event.changed)}: {event.global_id}" if event.global_id else ", ".join(event.changed)
    life_s = (event.captured_at - event.started_at).total_seconds()
    return f"{life_s:.1f} s, {event.reason.value}" if event.reason else ""
