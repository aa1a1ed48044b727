"""The detector processes: started, replaced when they end, and exchanged when the config asks for others.

Runs in the supervisor's loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from inference.errors import ModelError
from inference.model import ModelInfo
from publish.metrics import MergedMetrics
from vigil.child import RESTART_DELAYS_S, Child, restart_delay, restarts_in_a_row
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.layout import DetectorPlace, detectors_of

log = structlog.get_logger()

DETECTOR_STOP_S = 1.0

Places = dict[str | None, list[DetectorPlace]]


class Detectors:
    """`ready` is called whenever a place has a detector that can be given workers."""

    def __init__(
        self,
        metrics: MergedMetrics,
        spawn: Callable[[str], Awaitable[Child]],
        task: Callable[[Coroutine[Any, Any, None], str], None],
        ready: Callable[[DetectorPlace], None],
    ) -> None:
        self.places: Places = {}
        self._metrics = metrics
        self._spawn = spawn
        self._task = task
        self._ready = ready
        self._starting: set[DetectorPlace] = set()
        self._generation = 0

    def all(self) -> list[DetectorPlace]:
        return [place for places in self.places.values() for place in places]

    def wanted(self, config: VigilConfig) -> Places:
        """The places that the config wants: those that are there and serve as well, and new ones with no process.

        Without streams what is there is good enough.
        """
        if not config.streams and self.places:
            return self.places
        wanted = detectors_of(config)
        there = self.all()
        self._generation += 1
        for places in wanted.values():
            for index, place in enumerate(places):
                same = next((old for old in there if old.serves_as(place)), None)
                if same is not None:
                    places[index] = same
                elif any(old.name == place.name for old in there):
                    place.name = f"{place.name}.{self._generation}"
        return wanted

    async def start(self, wanted: Places) -> list[DetectorPlace]:
        """Starts what is wanted and has no process; returns the places that are then no longer wanted.

        Those still serve: end them with `retire` when nobody uses them.

        Raises:
            ModelError: one of them cannot start; then everything is as it was.
        """
        fresh = [place for places in wanted.values() for place in places if place not in self.all()]
        started = await asyncio.gather(*(self._start(place) for place in fresh), return_exceptions=True)
        failures = [outcome for outcome in started if isinstance(outcome, BaseException)]
        if failures:
            await self.retire(fresh)
            raise failures[0]
        before, self.places = self.all(), wanted
        return [place for place in before if place not in self.all()]

    async def retire(self, places: list[DetectorPlace]) -> None:
        for place in places:
            place.retired = True
        await asyncio.gather(*(place.child.stop(DETECTOR_STOP_S) for place in places if place.child is not None))

    async def _start(self, place: DetectorPlace) -> None:
        self._starting.add(place)
        try:
            place.child = child = await self._spawn(place.name)
            child.send("assign", detector=place.config.model_dump(mode="json"), tested=place.model is not None,
                       features=place.features)  # fmt: skip
            await _first(child.ready.wait(), child.ended.wait())
        finally:
            self._starting.discard(place)
        if not child.ready.is_set():
            raise ModelError(f"{place.name}: {child.failure or f'the process ended with exit code {child.exit_code}'}")
        self._ready(place)
        self._task(self._keep(place, child), f"keep {place.name}")

    async def _keep(self, place: DetectorPlace, child: Child) -> None:
        await child.ended.wait()
        self._metrics.gone(child.name)
        if place.retired:
            self._metrics.forget_process(child.name)
            return
        place.restarts = restarts_in_a_row(child, place.restarts)
        await asyncio.sleep(restart_delay(place.restarts))
        while not place.retired:
            try:
                await self._start(place)
                return
            except (ModelError, OSError) as error:
                log.error("detector does not start; trying again", error=str(error))
                await asyncio.sleep(RESTART_DELAYS_S[-1])

    def hear(self, child: Child, order: Order) -> None:
        if order.kind != "ready":
            return
        for place in [*self.all(), *self._starting]:
            if place.child is child:
                place.model = ModelInfo.from_json(order.data["model"])
                log.info("model ready", detector=place.name, classes=len(place.model.names),
                         **{k: v for k, v in order.data["model"].items() if k != "names"})  # fmt: skip
                return


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Returns when one of them has; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
