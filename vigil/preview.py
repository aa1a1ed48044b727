"""The preview process: has the viewers' connections, and sends them what workers send it.

| runs                      | where                                | ends                                      |
|---------------------------|--------------------------------------|-------------------------------------------|
| `PreviewProcess.run`      | the only thread's asyncio loop       | on `stop`, or when the supervisor is gone |
| viewers (ICE, DTLS, SCTP) | tasks of aiortc's in the loop        | with the viewer                           |
| answers to questions      | tasks in the loop                    | when answered                             |

It is a process of its own for the cameras' sake: what viewers do, and how many they are, delays no frame; and should a
browser's packets crash it, nothing else is harmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Coroutine
from typing import Any

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from publish.metrics import snapshot
from publish.preview.audience import Audience
from publish.preview.config import PreviewConfig
from publish.preview.metrics import AudienceMetrics
from vigil import logging
from vigil.asking import answer
from vigil.control import Control, Order

log = structlog.get_logger()

BEAT_S = 1.0
STOP_S = 1.0
# Connections refer to themselves; a collection every so often lets go of those that are over.
COLLECT_EVERY_BEATS = 10


class PreviewProcess:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._registry = CollectorRegistry()
        self._audience = Audience(PreviewConfig(), AudienceMetrics(self._registry), self._broke)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control.link, self._control.heed, self._obey)
        self._control.send("ready")
        beats = 0
        while not self._stopping.is_set():
            await self._audience.look()
            self._tell()
            beats += 1
            if beats % COLLECT_EVERY_BEATS == 0:
                gc.collect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._stopping.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._audience.close()
        self._tell()

    # -- orders

    def _obey(self, order: Order) -> None:
        match order.kind:
            case "config":
                self._audience.configure(PreviewConfig.model_validate(order.data["preview"]))
            case "worker":
                end = socket.socket(fileno=order.fds[0])
                self._task(self._audience.links.link(order.data["worker"], order.data["streams"], end), "link a worker")
            case "streams":
                self._audience.links.streams(order.data["worker"], order.data["streams"])
            case "forget":
                self._audience.forget(order.data["stream"])
                self._control.send("forgotten", stream=order.data["stream"])
            case "ask":
                self._task(answer(self._control, order, self._audience.answer), order.data["question"])
            case "stop":
                self._stopping.set()

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- what the supervisor hears

    def _broke(self, worker: str) -> None:
        self._control.send("unlinked", worker=worker)

    def _tell(self) -> None:
        self._control.send("metrics", families=snapshot(self._registry))


def main(control: Control) -> None:
    logging.configure(level="debug", style="json")
    uvloop.run(PreviewProcess(control).run())
