"""Cameras that come and go, and connections that break, again and again: does the service give everything back?

`python -m benchmarks.leaks [--cycles 50] [--reconnects 1000]`

Cycles add a camera to a running service and remove it again, over HTTP, beside two healthy neighbours. Reconnects drive
one reader, as a worker runs it, against a camera whose connections break at every stage of the conversation; its pauses
between connections are left out, as a thousand of them would take hours.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.faults import NEIGHBOURS, running
from benchmarks.faults_cameras import serving
from benchmarks.faults_measure import Holdings, Missing, missing
from benchmarks.faults_proxy import Road
from benchmarks.harness import ROOT, save
from ingest.activity import Activity
from ingest.ledger import FrameLedger
from ingest.reconnect import StreamState
from ingest.ring import FreeSlots
from ingest.scene import Scene, encoded
from publish.publisher import Publisher
from tests.e2e.real import Running, wait_for
from tracking.config import TrackerConfig
from vigil.config import StreamConfig
from vigil.orders import StreamOrder
from vigil.reader import Ledger, StateChange, StreamReader
from vigil.services import Services, WorkerMetrics

# Messages after which connections are closed: in each step of RTSP's conversation, in the first pictures, and later.
LIFETIMES = (0, 1, 2, 3, 4, 20, 300)
# Pools and caches have found their size after so many.
WARM_CYCLES, WARM_RECONNECTS = 5, 70
# Frames come quickly, so that FFmpeg has soon seen enough of the stream to open it.
QUICK = Scene("quick", "bus.jpg", 60, 4, 160, 120, 0.9)
CYCLE_S = 60.0


# -- cameras that come and go


def ask(service: Running, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    request = urllib.request.Request(
        service.addresses["http"] + path,
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={"content-type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()


def cycle(service: Running, url: str) -> None:
    """Adds a camera, waits for its frames, removes it, and waits until it is gone."""
    ask(service, "POST", "/api/v1/streams?keep=false", {"id": "guest", "url": url, "fps": 10})
    wait_for("frames of the new camera", lambda: service.streams()["guest"]["frames"] > 0, CYCLE_S)
    ask(service, "DELETE", "/api/v1/streams/guest?keep=false")
    wait_for("its end", lambda: "guest" not in service.streams(), CYCLE_S)


def churn(cycles: int, folder: Path) -> tuple[Holdings, Holdings, Missing]:
    """What the service holds before and after, and what the neighbours missed meanwhile."""
    with serving(encoded(QUICK, folder)) as camera, running({}, folder) as (service, inbox):
        for _ in range(WARM_CYCLES):
            cycle(service, camera.url())
        before = Holdings.when_settled(service)
        began = time.monotonic()
        for _ in range(cycles):
            cycle(service, camera.url())
        ended = time.monotonic()
        return before, Holdings.when_settled(service), sum(
            (missing(inbox.of(name), began, ended) for name in NEIGHBOURS), Missing()
        )  # fmt: skip


# -- connections that break


class Impatient(threading.Event):
    """A stop that is never waited for."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


class Counting:
    """Hears of the reader; says what this process holds after some reconnects, and stops the reader after the last."""

    def __init__(self, ledger: Ledger, reconnects: int) -> None:
        self.stop = Impatient()
        self.told: list[Holdings] = []
        self.live = 0
        self._ledger = ledger
        self._left = reconnects + WARM_RECONNECTS
        self._reconnects = reconnects

    def state_changed(self, change: StateChange) -> None:
        self.live += change.state is StreamState.LIVE
        if change.state is not StreamState.BACKOFF:
            return
        self._left -= 1
        if self._left in (self._reconnects, 0):
            self.told.append(Holdings.of_processes([os.getpid()]))
        if self._left == 0:
            self.stop.set()

    def drain(self) -> None:
        self._ledger.release()


def read(url: str, reconnects: int) -> None:
    """The child: reads the camera through so many reconnects and prints what it held before and after."""
    services = Services(
        site="leaks", activity=Activity.create(1), publisher=cast(Publisher, None), metrics=WorkerMetrics(),
        link=lambda: None, call=lambda function, *arguments: function(*arguments), report=lambda *_: None,
    )  # fmt: skip
    order = StreamOrder(name="gate", source=StreamConfig(url=url), tracker=TrackerConfig(), config_rev="0")
    ledger: Ledger = FrameLedger()
    listener = Counting(ledger, reconnects)
    StreamReader(order, 0, ledger, FreeSlots(range(4)), services).run(listener, listener.stop)
    print(json.dumps({"live": listener.live, "held": [asdict(held) for held in listener.told]}))


def reconnect(reconnects: int, folder: Path) -> tuple[Holdings, Holdings, int]:
    """What a reading process holds before and after, and how many connections delivered frames."""
    with serving(encoded(QUICK, folder)) as camera:
        with Road(camera.port, lifetimes=itertools.cycle(LIFETIMES)) as road:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.leaks", "--child", road.url("cam"), "--reconnects", str(reconnects)],
                stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
            )  # fmt: skip
        told = json.loads(done.stdout)
        before, after = (Holdings(**held) for held in told["held"])
        return before, after, told["live"]


def main(
    cycles: Annotated[int, typer.Option(help="Cameras added and removed; 0: none.")] = 50,
    reconnects: Annotated[int, typer.Option(help="Connections that break; 0: none.")] = 1000,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if child:
        read(child, reconnects)
        return
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="vigil-leaks-") as name:
        folder = Path(name)
        if reconnects:
            before, after, live = reconnect(reconnects, folder)
            result["reconnects"] = {
                "count": reconnects, "live": live, "before": asdict(before), "after": asdict(after)
            }  # fmt: skip
        if cycles:
            before, after, lost = churn(cycles, folder)
            result["cycles"] = {
                "count": cycles, "neighbour_frames_lost": lost.lost, "before": asdict(before), "after": asdict(after)
            }  # fmt: skip
    table = Table("", "memory MB", "fds", "threads", "shared blocks")
    for name, told in result.items():
        for when in ("before", "after"):
            table.add_row(f"{when} {told['count']} {name}", *(f"{value:g}" for value in told[when].values()))
    Console(width=100).print(table, result)
    Console().print(f"written to {save('leaks', result)}")


if __name__ == "__main__":
    typer.run(main)
