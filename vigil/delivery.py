"""The supervisor's part in publishing: the outbox is its, and nobody else sends from it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from publish.bounds import Bounds
from publish.connection import Connection
from publish.interrupted import endings
from publish.metrics import OutboxMetrics, PublishMetrics
from publish.outbox import Outbox, OutboxError, set_aside
from publish.publisher import Publisher
from publish.sender import Sender
from publish.subjects import Subjects
from publish.trouble import Troubles
from vigil.config import VigilConfig

log = structlog.get_logger()

# How long a worker's successor waits for what that one left unfinished to be on disk.
FLUSH_S = 1.0
WRITE_S = 1.0
DRAIN_S = 3.0
CLOSE_S = 0.5


class Delivery:
    """Made in the supervisor's loop, once the NATS server is known; runs two tasks in it until `close`.

    Attributes:
        connection: the supervisor's own.
        publisher: for what the supervisor itself has to tell.
    """

    def __init__(self, config: VigilConfig, nats_url: str, file: Path, registry: CollectorRegistry) -> None:
        """Raises OutboxError: the outbox cannot be used."""
        aside = set_aside(file)
        if aside is not None:
            log.error("the outbox was damaged and has been set aside; events that waited in it are not sent",
                      file=str(aside), code="outbox.damaged")  # fmt: skip
        subjects = Subjects.of(config.nats, config.site)
        published, metrics = PublishMetrics(registry), OutboxMetrics(registry)
        self._outbox = Outbox.open(file, os.getpid())
        troubles = Troubles(published.trouble)
        self.connection = Connection(config.nats, nats_url, f"vigil {config.site}", published.connected.set, troubles)
        self._sender = Sender(self._outbox, self.connection, config.nats, config.site, subjects, metrics)
        self._bounds = Bounds(self._outbox, config.outbox, metrics, troubles)
        self.publisher = Publisher(
            subjects, self._outbox, published, metrics, self.wake, troubles, traced=config.telemetry.share
        )
        self._sending = asyncio.create_task(self._sender.run(), name="sender")
        self._keeping = asyncio.create_task(self._bounds.run(), name="outbox")
        for task in (self._sending, self._keeping):
            task.add_done_callback(_tell_failure)

    @property
    def works(self) -> bool:
        """Whether events leave."""
        return self.connection.connected and not self._sending.done()

    def wake(self) -> None:
        """Something new is in the outbox."""
        self._sender.wake()

    async def interrupted(self, pid: int | None = None) -> None:
        """Ends what a process that has been killed left unfinished; None: what any has, as none runs."""
        try:
            unfinished = await asyncio.to_thread(self._outbox.unfinished, pid)
        except sqlite3.Error as error:
            log.error("what was interrupted is ended at the next start", error=str(error), code=OutboxError.code)
            return
        for event in endings(unfinished):
            self.publisher.event(event)
        await self.publisher.flush(FLUSH_S)

    async def close(self) -> None:
        """Delivers what is left, if that is quick: the rest is delivered by the next one."""
        await self.interrupted()
        lost = await self.publisher.close(WRITE_S)
        if lost:
            log.error("events could not be written before the end", count=lost)
        await _end(self._keeping)
        self.wake()
        left = await self._bounds.emptied(DRAIN_S, lambda: self.works)
        await _end(self._sending)
        if left:
            log.warning("events wait in the outbox for the next start", count=left)
        await self.connection.close(CLOSE_S)
        self._outbox.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("events are not delivered any more: a part of the supervisor failed", part=task.get_name(),
                  error=repr(error))  # fmt: skip
