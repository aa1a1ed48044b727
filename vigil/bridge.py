"""The process of the bridges: carries events from JetStream to webhooks and MQTT brokers.

| runs                          | where                                | ends                                      |
|-------------------------------|--------------------------------------|-------------------------------------------|
| `BridgeProcess.run`           | the only thread's asyncio loop       | on `stop`, or when the supervisor is gone |
| `Runner` of each bridge       | tasks in the loop                    | when its bridge is changed or removed     |
| host names, MQTT connecting   | threads of the loop's executor       | with the process                          |

It is a process of its own for the supervisor's sake: what bridges do when a peer comes back after hours, or when a name
server hangs, delays no health check and no restart of a worker. It does not come from the fork server, as it needs
nothing of what that one has imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import setproctitle
import structlog
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, TypeAdapter

from ingest.redact import redact
from publish.bridges import new_bridge
from publish.bridges.backoff import delay_s
from publish.bridges.config import AnyBridgeConfig
from publish.bridges.consumer import EventsConsumer
from publish.bridges.contract import Scene, Surroundings
from publish.bridges.metrics import BridgeMetrics
from publish.bridges.runner import Runner, Standing
from publish.config import NatsConfig
from publish.connection import Connection
from publish.metrics import snapshot
from publish.subjects import Subjects
from vigil import __version__, logging
from vigil.control import Control, Order
from vigil.processes import CONTROL_FD

log = structlog.get_logger()

BEAT_S = 1.0
# What is in JetStream when the service stops is still delivered, if that does not take longer.
DRAIN_S = 1.0
# A name server or an MQTT broker that hangs holds a thread for a while; each bridge needs one at a time.
THREADS = 32

CONFIG: TypeAdapter[AnyBridgeConfig] = TypeAdapter(AnyBridgeConfig)
SCENE = TypeAdapter(Scene)


class BridgesOrder(BaseModel):
    """What all bridges share. Holds secrets in clear: it goes over a private socket only."""

    site: str
    nats: NatsConfig
    nats_url: str
    prefix: str


class BridgeOrder(BaseModel):
    """One bridge, as it is to be from now on; without a config it is no more. Holds secrets in clear."""

    name: str
    config: dict[str, Any] | None
    since: datetime


class BridgeProcess:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._registry = CollectorRegistry()
        self._metrics = BridgeMetrics(self._registry)
        self._scenes: dict[str, Scene] = {}
        self._runners: dict[str, Runner] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._standings: dict[str, dict[str, str | None]] = {}
        self._connection: Connection | None = None
        self._order: BridgesOrder | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS, "bridge"))
        loop.add_reader(self._control.link, self._control.heed, self._obey)
        self._control.send("ready")
        while not self._stopping.is_set():
            self._tell()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._stopping.wait()
        await self._stop()
        self._tell()

    # -- orders

    def _obey(self, order: Order) -> None:
        match order.kind:
            case "assign":
                self._order = BridgesOrder.model_validate(order.data)
                name = f"vigil bridges {self._order.site}"
                self._connection = Connection(self._order.nats, self._order.nats_url, name, lambda _: None)
                self._task(self._connect(self._connection))
            case "scene":
                if order.data["scene"] is None:
                    self._scenes.pop(order.data["stream"], None)
                else:
                    self._scenes[order.data["stream"]] = SCENE.validate_python(order.data["scene"])
            case "bridge":
                self._task(self._change(BridgeOrder.model_validate(order.data)))
            case "stop":
                self._stopping.set()

    def _task(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, connection: Connection) -> None:
        await connection.open()

    async def _change(self, order: BridgeOrder) -> None:
        async with self._changing:
            await self._end(order.name)
            if order.config is None:
                self._standings.pop(order.name, None)
                self._metrics.forget(order.name)
                return
            config = CONFIG.validate_python(order.config)
            self._running[order.name] = task = asyncio.create_task(self._keep(order, config), name=order.name)
            task.add_done_callback(_told)

    async def _end(self, name: str) -> None:
        task = self._running.pop(name, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._runners.pop(name, None)

    async def _keep(self, order: BridgeOrder, config: AnyBridgeConfig) -> None:
        """Runs a bridge, again and again should it fail: what goes wrong with one harms no other."""
        assert self._order is not None and self._connection is not None, "bridges come after what they share"
        failures, rng = 0, random.Random()
        subjects = Subjects(self._order.prefix)
        while (client := self._connection.client) is None:
            await asyncio.sleep(BEAT_S / 10)
        while True:
            surroundings = Surroundings(
                self._order.site, order.name, __version__, client, subjects, lambda: self._scenes
            )  # fmt: skip
            bridge = new_bridge(config, surroundings)
            self._standings[order.name] = {"peer": bridge.peer, "state": "waiting", "code": None, "detail": None}
            consumer = EventsConsumer(client, f"{self._order.site}-{order.name}", bridge.subjects, order.since)

            def tell(standing: Standing) -> None:
                self._standings[order.name] |= {
                    "state": standing.state.value, "code": standing.code, "detail": standing.detail,
                }  # fmt: skip
                self._control.send("bridges", standings=self._standings)

            runner = Runner(order.name, config, bridge, consumer, self._metrics, tell)
            self._runners[order.name] = runner
            running = asyncio.create_task(runner.run(), name=f"run {order.name}")
            try:
                await asyncio.wait([running])
            finally:
                await runner.end(running)
            failures += 1
            log.error("bridge ended; starting it again", bridge=order.name, error=redact(repr(running.exception())))
            await asyncio.sleep(delay_s(failures, rng))

    # -- what the supervisor hears

    def _tell(self) -> None:
        self._control.send("metrics", families=snapshot(self._registry))
        self._control.send("bridges", standings=self._standings)

    # -- the end

    async def _stop(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await asyncio.gather(*(runner.drain() for runner in self._runners.values()))
        await asyncio.gather(*(self._end(name) for name in list(self._running)))
        if self._connection is not None:
            await self._connection.close(DRAIN_S)


def _told(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a bridge cannot be run", bridge=task.get_name(), error=redact(repr(error)))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.configure(level="debug", style="json")
    setproctitle.setproctitle("vigil bridges")
    asyncio.run(BridgeProcess(Control.inherited(CONTROL_FD)).run())


if __name__ == "__main__":
    main()
