"""What publishing costs: durable events and frame results a second, how soon they arrive, and what NATS' absence costs.

`python -m benchmarks.events [--only durable] [--seconds 10]`

Whatever belongs to Vigil runs on one core; the NATS server and the subscriber have the others.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import uvloop
from nats.aio.msg import Msg
from prometheus_client import CollectorRegistry
from rich.console import Console

from benchmarks.clips import clip, data_folder
from benchmarks.durability_processes import MODEL, SITE, SIZE, SUBJECTS, event
from benchmarks.harness import Service, save
from publish.config import NatsConfig
from publish.connection import Connection
from publish.metrics import OutboxMetrics, PublishMetrics
from publish.outbox import FILE, Outbox
from publish.publisher import Publisher
from publish.schema import FrameResult, ObjectSeen
from publish.sender import Sender
from publish.trouble import Troubles
from tests.publish.servers import Server

OBJECTS = 8
MOST_WAITING = 5000
IDLE_EVENTS = 300
TURNS = 3
SETTLE_S = 2.0
console = Console()


class EventPath:
    """A worker's publisher and the supervisor's sender, in one process on one core."""

    def __init__(self, folder: Path, url: str) -> None:
        registry = CollectorRegistry()
        config = NatsConfig(url=url)
        self.outbox = Outbox.open(folder / FILE, os.getpid())
        self.metrics, published = OutboxMetrics(registry), PublishMetrics(registry)
        self.frames_dropped = published.frames_dropped
        self.connection = Connection(config, url, "bench", lambda _: None)
        self.sender = Sender(
            Outbox.open(folder / FILE, os.getpid()), self.connection, config, SITE, SUBJECTS, self.metrics
        )
        self.publisher = Publisher(
            SUBJECTS, self.outbox, published, self.metrics, self.sender.wake, Troubles(),
            Connection(config, url, "bench frames", lambda _: None),
        )  # fmt: skip
        self.sending = asyncio.create_task(self.sender.run())


def frame(number: int) -> FrameResult:
    objects = [
        ObjectSeen(track_id=n, class_id=0, class_name="person", confidence=0.9, box=(1.25, 2.5, 30.75, 40.0))
        for n in range(OBJECTS)
    ]
    return FrameResult(
        site=SITE, stream="cam0", session=1, seq=number, pts=number / 25, captured_at=event(1, 0).captured_at,
        latency_ms=20.0, frame=SIZE, model=MODEL, config_rev="00000000", objects=objects,
    )  # fmt: skip


async def durable(path: EventPath, seconds: float) -> dict[str, float]:
    """As many events as are acknowledged."""
    began, made, cpu = time.perf_counter(), 0, time.process_time()
    while time.perf_counter() - began < seconds:
        for _ in range(50):
            path.publisher.event(event(1, made))
            made += 1
        await asyncio.sleep(0)
        while (path.outbox.contents().messages) > MOST_WAITING:
            await asyncio.sleep(0.005)
    while path.metrics.acked._value.get() < made:
        await asyncio.sleep(0.005)
    took = time.perf_counter() - began
    return {"durable_events_per_s": made / took, "durable_event_cpu_us": (time.process_time() - cpu) / made * 1e6}


async def results(path: EventPath, seconds: float) -> dict[str, float]:
    """As many frame results as leave without one being dropped."""
    message = frame(1)
    began, made, cpu = time.perf_counter(), 0, time.process_time()
    while time.perf_counter() - began < seconds:
        for _ in range(100):
            path.publisher.frame_result(message)
        made += 100
        await asyncio.sleep(0)
    assert not path.frames_dropped._value.get(), "some were dropped"
    took = time.perf_counter() - began
    return {"frame_results_per_s": made / took, "frame_result_cpu_us": (time.process_time() - cpu) / made * 1e6}


async def latency(path: EventPath, seconds: float) -> dict[str, float]:
    """From an event's making to its subscriber, a few a second."""
    heard: asyncio.Queue[float] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        await heard.put(time.perf_counter())

    assert path.connection.client is not None
    await path.connection.client.subscribe(SUBJECTS.all_events, cb=hear)
    taken = []
    for number in range(IDLE_EVENTS):
        began = time.perf_counter()
        path.publisher.event(event(2, number))
        taken.append(await heard.get() - began)
        await asyncio.sleep(seconds / IDLE_EVENTS)
    return {
        "event_p50_ms": float(np.percentile(taken, 50) * 1e3),
        "event_p99_ms": float(np.percentile(taken, 99) * 1e3),
    }


def of_path(measure: Callable[[EventPath, float], Awaitable[dict[str, float]]], seconds: float) -> dict[str, float]:
    async def play() -> dict[str, float]:
        path = EventPath(Path(folder), server.url)
        while not path.connection.connected:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        found = await measure(path, seconds)
        path.sending.cancel()
        await path.publisher.close(1.0)
        return found

    with tempfile.TemporaryDirectory(prefix="vigil-events-") as folder:
        server = Server(Path(folder))
        server.start()
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(cores)})
        try:
            return uvloop.run(play())
        finally:
            os.sched_setaffinity(0, cores)
            server.stop()


def without_nats(seconds: float) -> dict[str, float]:
    """The service's frame rate while its NATS server is gone, over that while it is there: at the cameras' pace, and as
    fast as it goes."""
    found = {}
    for name, pace in (("paced", {"fps": 12}), ("saturated", {"pace": "fast", "on_full": "block"})):
        here, gone = _rates({"url": str(clip("crowd")), "loop": True, **pace}, seconds)
        found |= {f"fps_{name}_with_nats": here, f"fps_{name}_without": gone, f"fps_{name}_ratio": gone / here}
    return found


def _rates(stream: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Frames analysed a second of two such streams, with NATS and without: medians of three times each, in turn."""
    detector = {"model": str(data_folder() / "weights" / "yolov8n.pt")}
    with tempfile.TemporaryDirectory(prefix="vigil-events-") as folder:
        server = Server(Path(folder))
        server.start()
        config = {"nats": {"url": server.url}, "detector": detector, "streams": {"a": stream, "b": stream}}
        rates: dict[bool, list[float]] = {True: [], False: []}
        with Service(config) as service:
            service.wait_for_frames(20)
            for turn in range(2 * TURNS):
                here = turn % 2 == 0
                if turn:
                    (server.start if here else server.stop)()
                time.sleep(SETTLE_S)
                before = service.read()
                time.sleep(seconds)
                after = service.read()
                frames = after.outcomes()["analysed"] - before.outcomes()["analysed"]
                rates[here].append(frames / (after.at - before.at))
        server.stop()
    return statistics.median(rates[True]), statistics.median(rates[False])


MEASURES = ("durable", "results", "latency", "without_nats")


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(MEASURES)}; may be repeated")] = None,
    seconds: Annotated[float, typer.Option(help="For each measure")] = 10.0,
) -> None:
    found: dict[str, float] = {}
    for name in only or MEASURES:
        found |= without_nats(seconds) if name == "without_nats" else of_path(globals()[name], seconds)
    for name, value in found.items():
        console.print(f"{name:24} {value:12.3f}")
    if not only:
        save("events", {name: round(value, 4) for name, value in found.items()})


if __name__ == "__main__":
    typer.run(main)
