"""`vigil check --probe`: opens every camera once and says what it sends, or why it does not; asks NATS as well."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ingest.errors import SourceError
from ingest.sources import open_source
from publish.connection import connect
from publish.jetstream import look, of_difference, wanted_streams
from publish.trouble import NatsError
from vigil.config import StreamConfig, VigilConfig
from vigil.nats_server import NatsServerError, find_binary


@dataclass(frozen=True, slots=True)
class Probe:
    """What one camera answered."""

    stream: str
    ok: bool
    seconds: float
    description: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class NatsProbe:
    """What the NATS server answered; `differs` are its streams' settings that are not as configured."""

    ok: bool
    description: str | None = None
    code: str | None = None
    detail: str | None = None
    differs: list[str] = field(default_factory=list)


async def probe_nats(config: VigilConfig) -> NatsProbe:
    """Connects as the service would, and looks at the streams that it would use; changes nothing."""
    if config.nats.url == "embedded":
        try:
            return NatsProbe(True, description=f"embedded: {find_binary()}")
        except NatsServerError as error:
            return NatsProbe(False, code=error.code, detail=str(error))
    try:
        client = await connect(config.nats, config.nats.url, "vigil check", lasting=False)
    except NatsError as error:
        return NatsProbe(False, code=error.code, detail=str(error))
    prefix = config.nats.prefix or f"vigil.{config.site}"
    differs = []
    try:
        for wanted in wanted_streams(config.nats, prefix, config.site):
            found = await look(client.jetstream(), wanted)
            differs += [str(of_difference(str(wanted.name), one)) for one in found or ()]
    except NatsError as error:
        return NatsProbe(False, code=error.code, detail=str(error))
    finally:
        await client.close()
    return NatsProbe(True, description="connected, and JetStream answers", differs=differs)


def probe(config: VigilConfig) -> list[Probe]:
    """All cameras at once, each within its own time-outs."""
    with ThreadPoolExecutor(max_workers=max(1, min(32, len(config.streams)))) as pool:
        return list(pool.map(lambda item: _probe(*item), config.streams.items()))


def _probe(name: str, config: StreamConfig) -> Probe:
    began = time.monotonic()
    if config.scheme == "whip":
        return Probe(name, True, 0.0, description="waits for publishers while `vigil run` serves it")
    try:
        with open_source(config) as source:
            frame = next(iter(source.frames()), None)
            seconds = round(time.monotonic() - began, 2)
            if frame is None:
                return Probe(name, False, seconds, reason="no_video", detail="not one frame could be decoded")
            return Probe(name, True, seconds, description=source.description)
    except SourceError as error:
        seconds = round(time.monotonic() - began, 2)
        return Probe(name, False, seconds, reason=error.reason.value, detail=error.detail)
