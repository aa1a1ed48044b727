"""What frame results cost to write, to send with their headers, and to read: JSON and MessagePack.

`python -m benchmarks.messages`

Microseconds of CPU in one Python process, the least of several rounds, by objects in the frame. Sending is to a
nats-server of this program's own on loopback, and includes writing; headers are left out, given to nats-py one by one,
or given written out, as Vigil does.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats
import ormsgpack
from rich.console import Console
from rich.table import Table

from benchmarks.harness import save
from publish import headers
from publish.contract.examples import FRAME, one_by_one
from publish.schema import FrameResult
from publish.schema.wire import JSON, MSGPACK, encode, read
from vigil.nats_server import NatsServer

OBJECTS = (0, 5, 25)
ROUNDS, MESSAGES = 7, 2000


def frames(objects: int) -> list[FrameResult]:
    seen = FRAME.objects[0]
    spread = [seen.model_copy(update={"track_id": n, "box": (n + 0.25, n * 3 + 0.5, n + 91.75, n * 3 + 200.25)})
              for n in range(objects)]  # fmt: skip
    return [FRAME.model_copy(update={"seq": seq, "objects": spread}) for seq in range(MESSAGES)]


def cost_us(work: Callable[[Any], object], each: list[Any]) -> float:
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for one in each:
            work(one)
        took.append(time.process_time() - began)
    return min(took) / len(each) * 1e6


async def sending_us(each: list[FrameResult], url: str) -> dict[str, float]:
    """With no headers, with headers given one by one, and with headers written out."""
    client = await nats.connect(url)
    given: dict[str, Callable[[FrameResult], dict[str, str] | None]] = {
        "none": lambda frame: None,
        "one by one": lambda frame: one_by_one(headers.of_frame(frame, JSON)),
        "written out": lambda frame: headers.of_frame(frame, JSON),
    }
    took: dict[str, list[float]] = {name: [] for name in given}
    for _ in range(ROUNDS):
        for name, make in given.items():
            made = [make(frame) for frame in each] if name == "one by one" else None
            began = time.process_time()
            for row, frame in enumerate(each):
                await client.publish("frames", encode(frame, JSON), headers=made[row] if made else make(frame))
            await client.flush()
            took[name].append(time.process_time() - began)
    await client.close()
    return {name: min(rounds) / len(each) * 1e6 for name, rounds in took.items()}


async def measure() -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder), 0)
        await server.start()
        try:
            for objects in OBJECTS:
                each = frames(objects)
                written = {kind: [encode(frame, kind) for frame in each] for kind in (JSON, MSGPACK)}
                found[str(objects)] = {
                    "bytes": {kind: len(bodies[0]) for kind, bodies in written.items()},
                    "write_us": {kind: cost_us(lambda frame, kind=kind: encode(frame, kind), each) for kind in written},
                    "read_us": {
                        kind: cost_us(lambda body, kind=kind: read(FrameResult, kind, body), written[kind])
                        for kind in written
                    },
                    "plain_us": {
                        JSON: cost_us(json.loads, written[JSON]),
                        MSGPACK: cost_us(ormsgpack.unpackb, written[MSGPACK]),
                    },
                    "send_us": await sending_us(each, server.url),
                }
        finally:
            await server.stop()
    return found


def show(found: dict[str, Any]) -> None:
    table = Table("objects", "", "JSON", "MessagePack", box=None)
    words = {
        "bytes": "bytes",
        "write_us": "write, µs",
        "read_us": "read as FrameResult, µs",
        "plain_us": "read as a dict, µs",
    }
    for objects, figures in found.items():
        for key, told in words.items():
            table.add_row(objects, told, *(f"{figures[key][kind]:.1f}" for kind in (JSON, MSGPACK)))
    console = Console()
    console.print(table)
    for objects, figures in found.items():
        told = ", ".join(f"{name} {cost:.1f}" for name, cost in figures["send_us"].items())
        console.print(f"{objects} objects, µs to write and send by headers: {told}")


if __name__ == "__main__":
    result = asyncio.run(measure())
    show(result)
    print(save("messages", result))
