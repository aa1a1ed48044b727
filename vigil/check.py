"""`vigil check --probe`: opens every camera once and says what it sends, or why it does not."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ingest.errors import SourceError
from ingest.sources import open_source
from vigil.config import StreamConfig, VigilConfig


@dataclass(frozen=True, slots=True)
class Probe:
    """What one camera answered."""

    stream: str
    ok: bool
    seconds: float
    description: str | None = None
    reason: str | None = None
    detail: str | None = None


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
