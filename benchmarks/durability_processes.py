"""The processes that `benchmarks.durability` kills.

`write` promises events as a worker does, and prints how many are on disk; `deliver` sends them as the supervisor does.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import typer
import uvloop
from prometheus_client import CollectorRegistry

from publish.config import NatsConfig
from publish.metrics import OutboxMetrics, PublishMetrics
from publish.outbox import FILE, Outbox
from publish.publisher import Publisher
from publish.schema import Model, Size, TrackEvent
from publish.subjects import Subjects
from publish.trouble import Troubles
from tracking.events import EventType
from vigil import logging
from vigil.config import VigilConfig
from vigil.delivery import Delivery

SITE = "durability"
SUBJECTS = Subjects(f"vigil.{SITE}")
STREAMS = 4
TICK_S = 0.01
STOP_S = 30.0
MODEL = Model(name="none", hash="0" * 16, runtime="none")
SIZE = Size(width=1920, height=1080)
app = typer.Typer()


def event(run: int, number: int) -> TrackEvent:
    """An event of the size that most have; `run` and `number` say where in its stream's order it belongs."""
    stream, now = f"cam{number % STREAMS}", datetime.now(UTC)
    return TrackEvent(
        event_id=f"{SITE}-{stream}-{run}-{number}-line.crossed", type=EventType.LINE_CROSSED, site=SITE, stream=stream,
        session=run, seq=number, pts=number / 25, captured_at=now, track_id=number,
        track_uid=f"{stream}/{run}/{number}", class_id=0, class_name="person", confidence=0.9, box=(1.0, 2.0, 3.0, 4.0),
        frame=SIZE, started_at=now, frames=25, line="door", direction="left", model=MODEL, config_rev="00000000",
    )  # fmt: skip


def stopped() -> asyncio.Event:
    """Set by SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


@app.command()
def write(folder: Path, rate: float, run: int, most: int = 1 << 62) -> None:
    """Promises `rate` events a second; each line on standard output says how many have been, on disk."""

    async def play() -> None:
        stop = stopped()
        registry = CollectorRegistry()
        publisher = Publisher(
            SUBJECTS, Outbox.open(folder / FILE, os.getpid()), PublishMetrics(registry), OutboxMetrics(registry),
            lambda: None, Troubles(),
        )  # fmt: skip
        began, made = asyncio.get_running_loop().time(), 0
        for tick in itertools.count(1):
            due = min(most, int(tick * TICK_S * rate))
            for number in range(made, due):
                publisher.event(event(run, number))
            made = due
            if stop.is_set() or made == most:
                break
            if await publisher.flush(TICK_S):
                print(made, flush=True)
            await asyncio.sleep(max(0.0, began + tick * TICK_S - asyncio.get_running_loop().time()))
        if not await publisher.close(STOP_S):
            print(made, flush=True)

    logging.configure("info", "json")
    uvloop.run(play())


@app.command()
def deliver(folder: Path, url: str) -> None:
    """Delivers what is in the outbox until told to stop."""

    async def play() -> None:
        stop = stopped()
        config = VigilConfig(site=SITE, state_dir=folder, nats=NatsConfig(url=url), streams={})
        delivery = Delivery(config, url, folder / FILE, CollectorRegistry())
        await stop.wait()
        await delivery.close()

    logging.configure("info", "json")
    uvloop.run(play())


if __name__ == "__main__":
    app()
