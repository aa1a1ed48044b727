"""The preview process as the supervisor sees it: started for the first viewer, linked with every worker, asked."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from ingest.errors import VigilError
from publish.metrics import MergedMetrics
from publish.preview.config import PreviewConfig
from vigil.asking import UnansweredError
from vigil.child import Child, restart_delay, restarts_in_a_row
from vigil.config import VigilConfig
from vigil.control import Order

log = structlog.get_logger()

NAME = "preview"
PREVIEW_STOP_S = 2.0
# To be forked, and to import what it needs should the fork server not have yet.
START_S = 15.0
SPAWN_RETRY_S = 5.0
LINK_AGAIN_S = 1.0


class NoStreamError(VigilError):
    """There is no such stream."""

    code = "preview.no_stream"


class PreviewDisabledError(VigilError):
    """Nothing is shown, as configured."""

    code = "preview.disabled"


@dataclass(slots=True)
class _Link:
    """A worker process that is linked with the preview process, and the streams that were told to be its."""

    worker: Child
    streams: list[str]


class Previews:
    """Wanted, not commanded: once somebody has wanted to watch there is a process, linked with what workers there are.

    `workers` gives those that have started and their streams.
    """

    def __init__(
        self,
        metrics: MergedMetrics,
        spawn: Callable[[str, Callable[[Child, Order], None]], Awaitable[Child]],
        task: Callable[[Coroutine[Any, Any, None], str], None],
        workers: Callable[[], Iterable[tuple[Child, list[str]]]],
    ) -> None:
        self._metrics = metrics
        self._spawn = spawn
        self._task = task
        self._workers = workers
        self._config = PreviewConfig()
        self._streams: frozenset[str] = frozenset()
        self._child: Child | None = None
        self._started = asyncio.Event()
        self._starting = False
        self._restarts = 0
        self._links: dict[str, _Link] = {}  # by the worker's name
        self._link_again: dict[str, float] = {}

    @property
    def child(self) -> Child | None:
        return self._child

    def want(self, config: VigilConfig) -> None:
        """Follows the config, which may have changed."""
        gone = self._streams - config.streams.keys()
        changed = config.preview != self._config
        self._config, self._streams = config.preview, frozenset(config.streams)
        if self._child is not None:
            for stream in gone:
                self._child.send("forget", stream=stream)
            if not config.preview.enabled:
                self._task(self._child.stop(PREVIEW_STOP_S), "end preview")
            elif changed:
                self._configure(self._child)
        self.look_after()

    async def ask(self, question: str, stream: str, **data: Any) -> dict[str, Any]:
        """What the preview process answers.

        Raises:
            NoStreamError, PreviewDisabledError, UnansweredError, DeclinedError
        """
        if stream not in self._streams:
            raise NoStreamError(f"there is no stream {stream[:64]!r}")
        if not self._config.enabled:
            raise PreviewDisabledError("preview.enabled is false; set it to true to watch streams")
        child = await self._process()
        return await child.ask(question, stream=stream, **data)

    # -- the process

    async def _process(self) -> Child:
        if self._child is None and not self._starting:
            self._starting = True
            self._task(self._start(), "start preview")
        try:
            async with asyncio.timeout(START_S):
                await self._started.wait()
        except TimeoutError:
            raise UnansweredError(f"the preview process did not start within {START_S:g} s; try again") from None
        assert self._child is not None, "it is set as long as the process has started"
        return self._child

    async def _start(self) -> None:
        while True:
            try:
                child = await self._spawn(NAME, self._hear)
                break
            except OSError as error:
                log.error("cannot start a process; trying again", process=NAME, error=str(error))
                await asyncio.sleep(SPAWN_RETRY_S)
        self._child, self._starting = child, False
        self._configure(child)
        self._task(self._keep(child), "keep preview")

    async def _keep(self, child: Child) -> None:
        await child.ended.wait()
        self._metrics.gone(child.name)
        self._started.clear()
        self._links.clear()
        self._link_again.clear()
        self._child = None
        if child.told_to_stop:
            return
        self._starting = True
        self._restarts = restarts_in_a_row(child, self._restarts)
        await asyncio.sleep(restart_delay(self._restarts))
        await self._start()

    def _configure(self, child: Child) -> None:
        child.send("config", preview=self._config.model_dump(mode="json"))

    def _hear(self, child: Child, order: Order) -> None:
        if child is not self._child:
            return
        match order.kind:
            case "ready":
                self.look_after()
                self._started.set()
            case "forgotten":
                self._metrics.forget(order.data["stream"])
            case "unlinked":
                self._links.pop(order.data["worker"], None)
                self._link_again[order.data["worker"]] = time.monotonic() + LINK_AGAIN_S

    # -- its links with workers

    def look_after(self) -> None:
        """Links it with workers that are new, and tells it which streams each has; called whenever that may differ."""
        child = self._child
        if child is None or not child.ready.is_set() or child.told_to_stop:
            return
        present = {worker.name: _Link(worker, sorted(streams)) for worker, streams in self._workers()}
        for name in self._links.keys() - present.keys():
            del self._links[name]  # it sees the end of the connection itself
        for name, wanted in present.items():
            known = self._links.get(name)
            if known is None or known.worker is not wanted.worker:
                if time.monotonic() >= self._link_again.get(name, 0.0):
                    self._introduce(child, wanted)
            elif known.streams != wanted.streams:
                known.streams = wanted.streams
                child.send("streams", worker=name, streams=wanted.streams)

    def _introduce(self, child: Child, link: _Link) -> None:
        """Gives it and a worker the two ends of a connection."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            child.send("worker", [ours.fileno()], worker=link.worker.name, streams=link.streams)
            link.worker.send("preview", [theirs.fileno()])
        self._links[link.worker.name] = link
        self._link_again.pop(link.worker.name, None)
