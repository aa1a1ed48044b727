"""The bridges as the supervisor sees them: their process, what it is told, and what it tells. Runs in its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import structlog

from publish.bridges.config import AnyBridgeConfig, revealed
from publish.bridges.contract import Scene
from publish.metrics import MergedMetrics
from publish.subjects import Subjects
from vigil.child import Child, restart_delay, restarts_in_a_row
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.processes import fresh_interpreter

log = structlog.get_logger()

BRIDGES_STOP_S = 2.0
NAME = "bridges"


class Bridges:
    """Wanted, not commanded: without bridges in the config there is no process."""

    def __init__(
        self,
        metrics: MergedMetrics,
        watch: Callable[[Child], None],
        task: Callable[[Coroutine[Any, Any, None], str], None],
        nats_url: Callable[[], str],
    ) -> None:
        self._metrics = metrics
        self._watch = watch
        self._task = task
        self._nats_url = nats_url
        self._config: VigilConfig | None = None
        self._since: dict[str, datetime] = {}  # when each bridge was first wanted: what it starts with, if it is new
        self._standings: dict[str, dict[str, Any]] = {}
        self._child: Child | None = None
        self._restarts = 0

    @property
    def child(self) -> Child | None:
        return self._child

    def want(self, config: VigilConfig) -> None:
        """Makes the bridges those of the config, which may have changed."""
        before, self._config = self._config, config
        for name in config.bridges:
            self._since.setdefault(name, datetime.now(UTC))
        for name in self._since.keys() - config.bridges.keys():
            del self._since[name]
        for one in config.bridges.values():
            strange = sorted(set(one.streams or ()) - config.streams.keys())
            if strange:
                log.warning("a bridge names streams that there are not", streams=strange)
        if self._child is None:
            if config.bridges:
                self._start()
        elif config.bridges:
            self._tell(self._child, before, config)
        elif not self._child.told_to_stop:
            self._task(self._child.stop(BRIDGES_STOP_S), "end bridges")

    def states(self) -> list[dict[str, Any]]:
        """Every bridge and how it is doing; no credentials."""
        bridges = self._config.bridges if self._config else {}
        return [self._state(name, config) for name, config in bridges.items()]

    def _state(self, name: str, config: AnyBridgeConfig) -> dict[str, Any]:
        unknown = {"peer": None, "state": "waiting", "code": None, "detail": None}
        counted = {
            what: int(self._metrics.value(f"vigil_bridge_{sample}", bridge=name))
            for what, sample in (("pending", "pending"), ("delivered", "delivered_total"),
                                 ("failed", "failed_total"), ("skipped", "skipped_total"))
        }  # fmt: skip
        return {"name": name, "kind": config.kind, **self._standings.get(name, unknown), **counted}

    # -- the process

    def _start(self) -> None:
        assert self._config is not None, "want something first"
        self._child = child = Child(NAME, fresh_interpreter("vigil.bridge"), self._hear)
        self._watch(child)
        self._task(self._keep(child), "keep bridges")
        config = self._config
        prefix = Subjects.of(config.nats, config.site).prefix
        child.send("assign", site=config.site, nats=revealed(config.nats), nats_url=self._nats_url(), prefix=prefix)
        self._tell(child, None, config)

    async def _keep(self, child: Child) -> None:
        await child.ended.wait()
        self._metrics.gone(child.name)
        self._standings.clear()
        if not child.told_to_stop:
            self._restarts = restarts_in_a_row(child, self._restarts)
            await asyncio.sleep(restart_delay(self._restarts))
        self._child = None
        if self._config is not None and self._config.bridges:
            self._start()

    def _tell(self, child: Child, before: VigilConfig | None, config: VigilConfig) -> None:
        """Sends what differs."""
        old, new = {} if before is None else _scenes(before), _scenes(config)
        for stream in {**old, **new}:
            if old.get(stream) != new.get(stream):
                scene = new.get(stream)
                child.send("scene", stream=stream, scene=None if scene is None else asdict(scene))
        bridges = {} if before is None else before.bridges
        for name in {**bridges, **config.bridges}:
            wanted = config.bridges.get(name)
            if bridges.get(name) != wanted:
                since = self._since.get(name, datetime.now(UTC))
                child.send("bridge", name=name, config=revealed(wanted), since=since.isoformat())

    def _hear(self, child: Child, order: Order) -> None:
        if order.kind == "metrics":
            self._metrics.update(child.name, order.data["families"])
        elif order.kind == "bridges":
            self._standings = order.data["standings"]


def _scenes(config: VigilConfig) -> dict[str, Scene]:
    """What can be seen in each stream, as far as the config tells."""
    return {
        name: Scene(
            classes=tuple(config.detector_of(name).classes or ()),
            zones={zone: tuple(settings.classes or ()) for zone, settings in stream.zones.items()},
        )
        for name, stream in config.streams.items()
    }
