"""The supervisor: starts and watches everything else, restarts what ends, and makes what runs follow the config.

| runs                        | where                                              |
|-----------------------------|----------------------------------------------------|
| this class and its parts    | the main process's asyncio loop                    |
| HTTP (uvicorn)              | a task in the same loop                            |
| control over NATS           | a task in the same loop                            |
| nats-server                 | a child process, when `nats.url` is `embedded`     |
| detectors                   | child processes, one for each model and device     |
| workers, and one in reserve | child processes, `workers.streams_per_worker` each |
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from inference.model import ModelInfo
from ingest.errors import VigilError
from ingest.metrics import IngestMetrics
from ingest.reconnect import StreamState
from ingest.redact import redact
from ingest.webrtc.config import WebRtcConfig
from publish import control, http
from publish.metrics import MergedMetrics, PublishMetrics, forget_stream, snapshot
from publish.publisher import Publisher
from publish.schema import Composer
from publish.subjects import Subjects
from vigil import __version__, logging
from vigil.asking import UnansweredError
from vigil.changes import Changes
from vigil.child import Child
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.detectors import DETECTOR_STOP_S, Detectors, Places
from vigil.document import ConfigError, Problem
from vigil.fleet import WORKER_STOP_S, Fleet, Surroundings, Wanted
from vigil.layout import DetectorPlace
from vigil.nats_server import NatsServer
from vigil.orders import StreamOrder
from vigil.settings import Settings
from vigil.state import Addresses, StateFolder

log = structlog.get_logger()

WORKER, DETECTOR = "vigil.worker", "vigil.detector"
# A child that has said nothing for this long is hung, whatever its process looks like.
SILENCE_S = 10.0
# Starting may import and convert for long.
START_SILENCE_S = 180.0
PUBLISH_STOP_S = 1.0
CONTROL_POLL_S = 0.1
# What can change while the service runs.
CHANGEABLE = ("streams", "tracker", "detector", "detectors", "webrtc", "log")


class StartError(VigilError):
    """The service cannot start on this machine as configured."""

    code = "service.start_failed"


@dataclass(slots=True)
class StreamView:
    """What is known of a stream, for the API."""

    state: str = StreamState.CONNECTING.value
    details: dict[str, Any] = field(default_factory=dict)


class Service:
    """`await run(stop)` serves until `stop` is set, or until every stream was a file that has ended."""

    def __init__(self, config: VigilConfig, settings: Settings | None = None) -> None:
        """`settings` is where `config` comes from: its edits are followed, and streams can be changed from outside."""
        self.config = config
        self.changes = Changes(self, settings)
        self.metrics = MergedMetrics()
        self.streams: dict[str, StreamView] = {}
        self.subjects = Subjects(config.nats.prefix or f"vigil.{config.site}")
        self.started = asyncio.Event()
        self.nats_url = config.nats.url
        self.http_url: str | None = None
        self.publisher: Publisher | None = None
        self._state = StateFolder(config.state_folder)
        self._nats: NatsServer | None = None
        self._children: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._registry = CollectorRegistry()
        self._ingest = IngestMetrics(self._registry)
        self._applying = asyncio.Lock()
        self._detectors = Detectors(self.metrics, self._spawn_detector, self._task, self._detector_ready)
        self._fleet = Fleet(config.workers, Surroundings(
            site=config.site,
            nats=config.nats,
            nats_url=lambda: self.nats_url,
            metrics=self.metrics,
            spawn=self._spawn_worker,
            task=self._task,
            told=self._told,
            told_here=self._told_here,
            gone=self._gone,
        ))  # fmt: skip

    # -- what others may ask

    def ready(self) -> dict[str, bool]:
        """The parts that must stand before the service is of use, and whether they do."""
        connected = self._fleet.connected
        return {
            "model": all(place.ready for place in self._detectors.all()),
            "workers": all(shard.child is not None and not shard.child.ended.is_set() for shard in self._fleet.shards),
            "nats": self.publisher is not None and self.publisher.connected and all(connected.values())
            and len(connected) >= len(self._fleet.shards),
        }  # fmt: skip

    def stream_list(self) -> list[dict[str, Any]]:
        return [
            {
                "id": name,
                "state": view.state,
                **view.details,
                "frames": int(self.metrics.value("vigil_frames_total", stream=name, outcome="analysed")),
                "tracks": int(self.metrics.value("vigil_tracks_active", stream=name)),
            }
            for name, view in self.streams.items()
        ]

    def whip_token(self, stream: str) -> SecretStr | None:
        """The token that the stream's publishers send, if it has one of its own.

        Raises:
            KeyError: there is no such stream, or nobody can publish to it.
        """
        config = self.config.streams[stream]
        if config.scheme != "whip":
            raise KeyError(stream)
        return config.token

    def webrtc(self) -> WebRtcConfig:
        return self.config.webrtc

    async def ask(self, stream: str, question: str, **data: Any) -> dict[str, Any]:
        """What the worker that has the stream answers.

        Raises:
            UnansweredError, RefusedError
        """
        worker = self._fleet.worker_of(stream)
        if worker is None:
            raise UnansweredError(f"no worker has stream {stream!r} at present")
        return await worker.ask(question, stream=stream, **data)

    def models(self) -> list[ModelInfo]:
        """The models that are loaded."""
        return [place.model for place in self._detectors.all() if place.model is not None]

    def pids(self) -> dict[str, int]:
        """Process ids by role."""
        children = {place.name: place.child for place in self._detectors.all()}
        children |= {shard.name: shard.child for shard in self._fleet.shards}
        children["standby"] = self._fleet.spare
        pids = {name: child.pid for name, child in children.items() if child is not None and not child.ended.is_set()}
        if self._nats is not None and self._nats.pid is not None:
            pids["nats"] = self._nats.pid
        return pids

    # -- serving

    async def run(self, stop: asyncio.Event) -> None:
        """Raises VigilError when it cannot start; whatever was started is stopped again."""
        self._state.acquire(self.config.site)
        listening = None
        try:
            listening = self._listen()
            await self._start()
            if listening is not None:
                self._task(http.serve(self, self.config.http, listening), "http")
            self._task(self._look_after(), "watchdog")
            self._task(self.changes.follow(), "config")
            self._task(self._serve_control(), "control")
            self._task(self._stop_at_the_end(stop), "end")
            self._state.publish(Addresses(os.getpid(), redact(self.nats_url), self.http_url, self.subjects.prefix))
            self.started.set()
            log.info("serving", streams=len(self.streams), nats=self.nats_url, http=self.http_url)
            await stop.wait()
            log.info("stopping")
        finally:
            await self._stop()
            if listening is not None:
                listening.close()
            self._state.release()

    def _listen(self) -> socket.socket | None:
        if not self.config.http.enabled:
            return None
        host, port = self.config.http.host, self.config.http.port
        try:
            listening = socket.create_server((host, port))
        except OSError as error:
            raise StartError(
                f"http: cannot listen on {host}:{port}: {error.strerror}; set another `http.port`, or 0 for any"
            ) from None
        self.http_url = f"http://{host}:{listening.getsockname()[1]}"
        if host not in ("127.0.0.1", "localhost", "::1") and self.config.http.token is None:
            log.warning("HTTP listens beyond this machine without a token; set http.token", host=host)
        return listening

    async def _start(self) -> None:
        """Everything that takes long starts at once; the model decides whether there will be a service at all."""
        config = self.config
        places = self._detectors.wanted(config)
        self.streams = {name: StreamView() for name in config.streams}
        self._fleet.plan(self._wanted(config, places))
        workers = await self._fleet.start()
        if config.nats.url == "embedded":
            self._nats = NatsServer(config.state_folder / "nats", config.nats.port)
            await self._nats.start()
            self.nats_url = self._nats.url
            self._task(self._nats.supervise(), "nats")
        self.publisher = Publisher(config.nats, self.nats_url, config.site, PublishMetrics(CollectorRegistry()))
        self.publisher.start()
        await self._detectors.start(places)
        for shard, worker in zip(list(self._fleet.shards), workers, strict=True):
            self._fleet.occupy(shard, worker)
        await self._fleet.keep_spare()

    def _wanted(self, config: VigilConfig, places: Places) -> dict[str, Wanted]:
        return {
            name: Wanted(
                StreamOrder(
                    name=name, source=stream, tracker=config.tracker_of(name), config_rev=config.revision_of(name)
                ),
                places[stream.detector],
            )
            for name, stream in config.streams.items()
        }

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a part of the supervisor failed", part=task.get_name(), error=repr(error))

    async def _serve_control(self) -> None:
        assert self.publisher is not None
        while self.publisher.client is None:
            await asyncio.sleep(CONTROL_POLL_S)
        await control.serve(self.publisher.client, self.subjects, self.changes, __version__)

    # -- following the config

    async def apply(self, config: VigilConfig) -> None:
        """Makes what runs follow the config: streams that stay as they were are not disturbed.

        Raises:
            ConfigError: it changes what cannot change while the service runs. Everything is as it was.
            ModelError: a detector that it wants cannot start. Everything is as it was.
        """
        async with self._applying:
            fixed = [name for name in VigilConfig.model_fields if name not in CHANGEABLE]
            changed = [name for name in fixed if getattr(config, name) != getattr(self.config, name)]
            if changed:
                message, mend = "cannot change while the service runs", "restart Vigil, or take the change back"
                raise ConfigError("config", [
                    Problem("config.needs_restart", name, None, None, message, mend) for name in changed
                ])  # fmt: skip
            places = self._detectors.wanted(config)
            unused = await self._detectors.start(places)
            logging.configure(config.log.level, config.log.format)
            before, self.config = self.config, config
            for name in config.streams.keys() - self.streams.keys():
                self.streams[name] = StreamView()
            self._fleet.want(self._wanted(config, places))
            await self._detectors.retire(unused)
            log.info("config applied", revision=config.revision, **_difference(before, config))

    def _detector_ready(self, place: DetectorPlace) -> None:
        for shard in self._fleet.shards:
            if shard.detector is place:
                self._fleet.introduce(shard)

    # -- what is told of streams

    def _told(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        """A worker has told it."""
        self.streams[stream] = StreamView(state.value, details)
        self._unshow(stream)

    def _told_here(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        """The supervisor knows it, and no worker does: so the supervisor publishes it."""
        self.streams[stream] = StreamView(state.value, details)
        for other in StreamState:
            self._ingest.state.labels(stream, other.value).set(other is state)
        self.metrics.update("supervisor", snapshot(self._registry))
        place = next((place for place in self._detectors.places[self.config.streams[stream].detector]), None)
        if self.publisher is not None and place is not None and place.model is not None:
            composer = Composer(self.config.site, place.model, self.config.revision_of(stream), place.confidence)
            self.publisher.status(composer.status(stream, state.value, time.time_ns(), **details))

    def _gone(self, stream: str) -> None:
        self.streams.pop(stream, None)
        self._unshow(stream)
        self.metrics.forget(stream)

    def _unshow(self, stream: str) -> None:
        forget_stream(self._registry, stream)
        self.metrics.left("supervisor", stream)

    # -- the processes

    async def _spawn_worker(self, name: str) -> Child:
        return await self._spawn(name, WORKER, self._fleet.hear)

    async def _spawn_detector(self, name: str) -> Child:
        return await self._spawn(name, DETECTOR, self._detectors.hear)

    async def _spawn(self, name: str, module: str, hear: Callable[[Child, Order], None]) -> Child:
        def on_order(child: Child, order: Order) -> None:
            if order.kind == "metrics":
                self.metrics.update(child.name, order.data["families"])
            else:
                hear(child, order)

        child = Child(name, module, on_order)
        self._children.add(child)
        await child.start()
        self._task(self._see_off(child), f"see off {name}")
        return child

    async def _see_off(self, child: Child) -> None:
        await child.ended.wait()
        self._children.discard(child)
        if not child.told_to_stop:
            log.error("process ended; restarting it", process=child.name, exit_code=child.exit_code)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for child in list(self._children):
                allowed = SILENCE_S if child.ready.is_set() else START_SILENCE_S
                if not child.ended.is_set() and time.monotonic() - child.last_beat > allowed:
                    log.error("process hangs; killing it", process=child.name, silent_s=round(allowed))
                    child.kill()
            self._fleet.look_after()
            if self._fleet.spare is not None and self._fleet.spare.ended.is_set():
                self._fleet.spare = None
                await self._fleet.keep_spare()

    async def _stop_at_the_end(self, stop: asyncio.Event) -> None:
        """When all streams were files and have ended, so has the service."""
        final = {StreamState.ENDED.value, StreamState.FAILED.value}
        while True:
            await asyncio.sleep(0.1)
            only_files = self.config.streams and all(stream.ends for stream in self.config.streams.values())
            if only_files and all(self.streams[name].state in final for name in self.config.streams):
                log.info("every stream has ended")
                stop.set()
                return

    # -- the end

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Workers first: they still need the detector's answers and the server's acknowledgements.
        detectors = {place.child for place in self._detectors.all() if place.child is not None}
        await asyncio.gather(*(child.stop(WORKER_STOP_S) for child in self._children - detectors))
        await asyncio.gather(*(child.stop(DETECTOR_STOP_S) for child in detectors))
        if self.publisher is not None:
            await self.publisher.close(PUBLISH_STOP_S)
        if self._nats is not None:
            await self._nats.stop()
        log.info("stopped")


def _difference(before: VigilConfig, after: VigilConfig) -> dict[str, list[str]]:
    """The streams that were added, removed and changed, by what it is called."""
    old, new = before.streams, after.streams
    changed = [name for name in old.keys() & new.keys() if before.revision_of(name) != after.revision_of(name)]
    found = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(changed),
    }
    return {what: names for what, names in found.items() if names}
