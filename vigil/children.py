"""The supervisor's child processes: forked, watched while they live, seen off when they end. Lives in its loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from publish.metrics import MergedMetrics
from publish.tracing.exporter import Exporter
from vigil import forkserver
from vigil.child import Child
from vigil.control import Order
from vigil.forkserver import ForkServer
from vigil.processes import Process

log = structlog.get_logger()

# A child that has said nothing for this long is hung, whatever its process looks like.
SILENCE_S = 10.0
# Starting may import and convert for long.
START_SILENCE_S = 180.0


class Children:
    """Who wants one back that has ended starts it again: here only the processes are looked after.

    Attributes:
        traces: where children's traces go, if anywhere.
    """

    def __init__(
        self,
        metrics: MergedMetrics,
        task: Callable[[Coroutine[Any, Any, None], str], None],
        ended: Callable[[Child], None],
        launched: Process | None = None,
    ) -> None:
        """`ended` hears of each that has; `launched` is a fork server that has been launched already."""
        self.traces: Exporter | None = None
        self._metrics = metrics
        self._task = task
        self._ended = ended
        self._launched = launched
        self._forks: ForkServer | None = None
        self._living: set[Child] = set()

    def pids(self) -> dict[str, int]:
        """Process ids by name."""
        return {child.name: child.pid for child in self._living if not child.ended.is_set()}

    async def spawn(self, name: str, module: str, hear: Callable[[Child, Order], None]) -> Child:
        """Starts a process that runs `module`'s `main`; `hear` takes what it says beside its figures.

        Raises:
            OSError: the machine has no room for another process.
        """

        def on_order(child: Child, order: Order) -> None:
            if order.kind == "metrics":
                self._metrics.update(child.name, order.data["families"], order.data.get("more", False))
            elif order.kind == "traces":
                if self.traces is not None:
                    self.traces.add(order.data["traces"])
            else:
                hear(child, order)

        child = Child(name, await self._fork_server().fork(name, module), on_order)
        self.watch(child)
        return child

    async def spawn_unwatched(self, name: str, module: str) -> Child:
        """Starts a process that is looked after by who wants to know."""
        return Child(name, await self._fork_server().fork(name, module), lambda *_: None)

    def watch(self, child: Child) -> None:
        self._living.add(child)
        self._task(self._see_off(child), f"see off {child.name}")

    def look_after(self) -> None:
        """Kills those that hang; called now and then."""
        for child in self._living:
            allowed = SILENCE_S if child.ready.is_set() else START_SILENCE_S
            if not child.ended.is_set() and time.monotonic() - child.last_beat > allowed:
                log.error("process hangs; killing it", process=child.name, silent_s=round(allowed))
                child.kill()
                child.last_beat = time.monotonic()  # it takes a moment to end

    @property
    def living(self) -> frozenset[Child | None]:
        return frozenset(self._living)

    async def stop(self, timeout_s: float, those: Iterable[Child | None]) -> None:
        """Stops those of them that still live."""
        await asyncio.gather(*(child.stop(timeout_s) for child in self._living & set(those)))

    def _fork_server(self) -> ForkServer:
        if self._forks is None or self._forks.ended.is_set():
            self._forks = ForkServer(self._launched or forkserver.launch())
            self._launched = None
            self.watch(self._forks)
        return self._forks

    async def _see_off(self, child: Child) -> None:
        await child.ended.wait()
        self._living.discard(child)
        self._metrics.gone(child.name)
        self._ended(child)
        if not child.told_to_stop:
            log.error("process ended; restarting it", process=child.name, exit_code=child.exit_code)
