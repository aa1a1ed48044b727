"""The supervisor: starts and watches everything else, restarts what ends, and makes what runs follow the config.

| runs                        | where                                              |
|-----------------------------|----------------------------------------------------|
| this class and its parts    | the main process's asyncio loop                    |
| HTTP (uvicorn)              | a task in the same loop                            |
| control over NATS           | a task in the same loop                            |
| the keeper of media         | a task in the same loop, and a pool's threads      |
| exporting traces, if wanted | a task in the same loop, and a thread              |
| nats-server                 | a child process, when `nats.url` is `embedded`     |
| the fork server             | a child process                                    |
| detectors                   | child processes, one for each model and device     |
| workers                     | child processes, `workers.streams_per_worker` each |
| bridges                     | a child process, when there are any                |
| the preview                 | a child process, once somebody watches             |
| trying a camera's settings  | a child process each, `vigil/probing.py`           |
| figures, once a second      | a task in the same loop                            |
| events for who listens      | a task in the same loop                            |
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import structlog
from nats.aio.client import Client
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from inference.model import ModelInfo
from inference.nvml import Nvml
from ingest.activity import LOOK_S
from ingest.errors import VigilError
from ingest.reconnect import StreamState
from ingest.redact import redact
from ingest.webrtc.config import WebRtcConfig
from publish import control, http, outbox
from publish.api.probe import Probed
from publish.listening import Certificate
from publish.live import Audience
from publish.media.keeper import Keeper
from publish.media.metrics import KeepingMetrics
from publish.media.still import Still
from publish.media.stores import Site
from publish.metrics import MergedMetrics
from publish.moving import Moving
from publish.past import Page, Past
from publish.past import Wanted as WantedEvents
from publish.schema.composer import Composer
from publish.subjects import Subjects
from publish.tracing.exporter import Exporter
from publish.tracing.metrics import TracingMetrics
from publish.trouble import Code, NatsError, Trouble
from vigil import __version__, logging, systemd
from vigil.board import SUPERVISOR, Board
from vigil.bridges import BRIDGES_STOP_S, Bridges
from vigil.broadcast import Broadcast
from vigil.changes import Changes
from vigil.child import Child
from vigil.children import Children
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.delivery import Delivery
from vigil.detectors import DETECTOR_STOP_S, Detectors, Places
from vigil.document import ConfigError, Problem
from vigil.fleet import WORKER_STOP_S, Fleet, Surroundings, Wanted
from vigil.forkserver import DETECTOR, PREVIEW, PROBE, WORKER
from vigil.identification import DEPARTED, LOOKED, Identification
from vigil.layout import DetectorPlace
from vigil.metrics import SupervisorMetrics
from vigil.nats_server import NatsServer
from vigil.orders import MediaOrder, StreamOrder
from vigil.overview import Overview, Sights
from vigil.previews import PREVIEW_STOP_S, Previews
from vigil.probing import Probes
from vigil.processes import Process
from vigil.readiness import Readiness
from vigil.settings import Settings
from vigil.state import Addresses, StateFolder
from vigil.stills import ask_still

log = structlog.get_logger()

CONTROL_POLL_S = 0.1
MEASURE_S = 1.0
# What can change while the service runs.
CHANGEABLE = ("streams", "tracker", "detector", "detectors", "identity", "webrtc", "log", "bridges", "preview")


class StartError(VigilError):
    """The service cannot start on this machine as configured."""

    code = "service.start_failed"


class Service:
    """`await run(stop)` serves until `stop` is set, or until every stream was a file that has ended."""

    def __init__(self, config: VigilConfig, settings: Settings | None = None, launched: Process | None = None) -> None:
        """`settings` is where `config` comes from: its edits are followed, and streams can be changed from outside.

        `launched` is a fork server that has been launched already, to lose no time.
        """
        self.config = config
        self.metrics = MergedMetrics()
        self.subjects = Subjects.of(config.nats, config.site)
        self.started = asyncio.Event()
        self.nats_url = config.nats.url
        self.http_url: str | None = None
        self.audience = Audience()
        self._state = StateFolder(config.state_folder)
        self._outbox = config.state_folder / outbox.FILE
        self._nats: NatsServer | None = None
        self._delivery: Delivery | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._applying = asyncio.Lock()
        registry = self._registry = CollectorRegistry()
        self.metrics.live(SUPERVISOR, registry)
        self._measured = SupervisorMetrics(registry, self.pids, lambda now_ns: self._fleet.freshness(now_ns))
        self._measured.configured(config.site, config.revision)
        self._identification = Identification(config.identity, registry)
        self.media = Keeper(config.media, Site(config.media_folder, self._client), KeepingMetrics(registry))
        self._board = Board(self.metrics, registry, self.audience, self._publish_status, self._model_of)
        self._children = Children(self.metrics, self._task, self._child_ended, launched)
        self._detectors = Detectors(self.metrics, self._spawn_detector, self._task, self._detector_ready)
        self._probes = Probes(partial(self._children.spawn_unwatched, "probe", PROBE))
        self._bridges = Bridges(self.metrics, self._children.watch, self._task, lambda: self.nats_url)
        self._previews = Previews(self.metrics, self._spawn_preview, self._task, self._workers)
        self._fleet = Fleet(config.workers, Surroundings(
            site=config.site,
            nats=config.nats,
            nats_url=lambda: self.nats_url,
            outbox=self._outbox,
            media=MediaOrder(folder=config.media_folder, least_free=config.media.least_free),
            traced=config.telemetry.share,
            metrics=self.metrics,
            spawn=self._spawn_worker,
            task=self._task,
            told=self._board.told,
            told_here=self._board.told_here,
            gone=self._gone,
            promised=self._promised,
            interrupted=self._interrupted,
        ))  # fmt: skip
        # What is asked from outside is answered by whose it is.
        readiness = Readiness(self._detectors, self._fleet, lambda: self._delivery)
        self.ready, self.nats_state = readiness.ready, readiness.nats_state
        self.streams, self.stream_list, self.present = self._board.streams, self._board.listed, self._board.present
        self.ask, self.ask_preview, self.bridge_list = self._fleet.ask, self._previews.ask, self._bridges.states
        self.changes = Changes(self, settings)
        self.moving = Moving(self)
        overview = Overview(Sights(
            site=config.site,
            metrics=self.metrics,
            pids=self.pids,
            places=self._detectors.all,
            streams=self.stream_list,
            nats=lambda: str(self.nats_state()["state"]),
            viewers=self._viewers,
        ))  # fmt: skip
        self.system = overview.told
        self._broadcast = Broadcast(self.audience, overview, self.subjects.all_events, self._client)

    # -- what others may ask

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

    async def still(
        self, stream: str, boxes: bool, max_side: int, max_bytes: int, had: tuple[int, int] | None = None
    ) -> Still:
        """The stream's newest picture, if it is of another frame than that which is known already.

        Raises:
            UnansweredError, DeclinedError
        """
        asked = {"boxes": boxes, "max_side": max_side, "max_bytes": max_bytes, "had": had}
        return await ask_still(partial(self._fleet.ask, stream), **asked)

    def models(self) -> list[ModelInfo]:
        """The models that are loaded."""
        return [place.model for place in self._detectors.all() if place.model is not None]

    def pids(self) -> dict[str, int]:
        """Process ids by role, ours included."""
        pids = {SUPERVISOR: os.getpid(), **self._children.pids()}
        if self._nats is not None and self._nats.pid is not None:
            pids["nats"] = self._nats.pid
        return dict(sorted(pids.items()))

    async def probe(self, settings: dict[str, Any], stream: str | None) -> Probed:
        """Tries a camera's settings, over those of a stream if one is named.

        Raises:
            RefusedError
        """
        return await self._probes.probe(self.changes.tried(settings, stream))

    async def past(self, wanted: WantedEvents) -> Page:
        """A page of past events.

        Raises:
            NatsError: JetStream cannot be asked.
        """
        client = self._client()
        if client is None or not client.is_connected:
            message = "there is no connection to NATS"
            raise NatsError(Trouble(Code.UNREACHABLE, message, "see /api/v1/nats; it is tried again and again"))
        return await Past(client).page(wanted)

    def _viewers(self) -> dict[str, int]:
        return {"live": len(self.audience), "mjpeg": len(self.moving),
                "webrtc": int(self.metrics.value("vigil_preview_viewers"))}  # fmt: skip

    def _client(self) -> Client | None:
        """The supervisor's connection to NATS, which may be broken; None before the first."""
        return self._delivery.connection.client if self._delivery is not None else None

    # -- serving

    async def run(self, stop: asyncio.Event) -> None:
        """Raises VigilError when it cannot start; whatever was started is stopped again."""
        self._state.acquire(self.config.site)
        listening = None
        try:
            certificate = Certificate(self.config.http.tls) if self.config.http.tls else None
            listening = self._listen()
            await self._start()
            if listening is not None:
                self._task(http.serve(self, self.config.http, listening, certificate), "http")
            self._task(self._look_after(), "watchdog")
            self._task(self._measure(), "measure")
            self._task(self._measure_gpus(), "measure GPUs")
            self._task(self.changes.follow(), "config")
            self._task(self._serve_control(), "control")
            self._task(self.media.run(), "media")
            self._task(self._broadcast.figures(), "figures")
            self._task(self._broadcast.events(), "events")
            self._task(self._stop_at_the_end(stop), "end")
            self._state.publish(Addresses(os.getpid(), redact(self.nats_url), self.http_url, self.subjects.prefix))
            self.started.set()
            systemd.tell(systemd.READY, f"STATUS=serving {len(self.streams)} streams")
            log.info("serving", streams=len(self.streams), nats=self.nats_url, http=self.http_url)
            await stop.wait()
            log.info("stopping")
        finally:
            systemd.tell(systemd.STOPPING)
            await self._stop()
            if listening is not None:
                listening.close()
            self._state.release()

    def _listen(self) -> socket.socket | None:
        if not self.config.http.enabled:
            return None
        host, port = self.config.http.host, self.config.http.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family)
        except OSError as error:
            raise StartError(
                f"http: cannot listen on {host}:{port}: {error.strerror}; set another `http.port`, or 0 for any"
            ) from None
        scheme, shown = "https" if self.config.http.tls else "http", f"[{host}]" if ":" in host else host
        self.http_url = f"{scheme}://{shown}:{listening.getsockname()[1]}"
        if host not in ("127.0.0.1", "localhost", "::1") and self.config.http.token is None:
            log.warning("HTTP listens beyond this machine, and answers nobody there without a token; set http.token",
                        host=host)  # fmt: skip
        return listening

    async def _start(self) -> None:
        """The model decides whether there will be a service at all."""
        config = self.config
        if config.telemetry.share:
            traces = Exporter(config.telemetry, config.site, __version__, TracingMetrics(self._registry))
            self._children.traces = traces
            self._task(traces.run(), "traces")
        places = self._detectors.wanted(config)
        for name in config.streams:
            self._board.expect(name)
        self._fleet.plan(self._wanted(config, places))
        if config.nats.url == "embedded":
            self._nats = NatsServer(config.state_folder / "nats", config.nats.port)
            await self._nats.start()
            self.nats_url = self._nats.url
            self._task(self._nats.supervise(), "nats")
        self._bridges.want(config)
        self._previews.want(config)
        self._delivery = Delivery(config, self.nats_url, self._outbox, self._registry)
        await self._delivery.interrupted()
        try:
            await self._detectors.start(places)
            for name in _paused(config):
                self._board.told_here(name, StreamState.PAUSED, {})
            await self._fleet.start()
        except OSError as error:
            raise StartError(f"cannot start a process: {error}") from None

    def _wanted(self, config: VigilConfig, places: Places) -> dict[str, Wanted]:
        return {
            name: Wanted(
                StreamOrder(
                    name=name,
                    source=stream,
                    tracker=config.tracker_of(name),
                    config_rev=config.revision_of(name),
                    identity=config.identity_of(name),
                ),
                places[stream.detector],
            )
            for name, stream in config.streams.items()
            if not stream.paused
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
        while (client := self._client()) is None:
            await asyncio.sleep(CONTROL_POLL_S)
        await control.serve(client, self.subjects, self.changes, self, self, __version__)

    # -- following the config

    def fixed(self, config: VigilConfig) -> list[str]:
        """Its settings that differ from those in force, and cannot change while the service runs."""
        names = [name for name in VigilConfig.model_fields if name not in CHANGEABLE]
        return [name for name in names if getattr(config, name) != getattr(self.config, name)]

    def refuse_fixed(self, config: VigilConfig) -> None:
        """Raises ConfigError: it changes what cannot change."""
        if changed := self.fixed(config):
            message, mend = "cannot change while the service runs", "restart Vigil, or take the change back"
            raise ConfigError("config", [
                Problem("config.needs_restart", name, None, None, message, mend) for name in changed
            ])  # fmt: skip

    async def apply(self, config: VigilConfig) -> None:
        """Makes what runs follow the config: streams that stay as they were are not disturbed.

        Raises:
            ConfigError: it changes what cannot change while the service runs. Everything is as it was.
            ModelError: a detector that it wants cannot start. Everything is as it was.
        """
        async with self._applying:
            self.refuse_fixed(config)
            places = self._detectors.wanted(config)
            unused = await self._detectors.start(places)
            logging.configure(config.log.level, config.log.format)
            before, self.config = self.config, config
            for name in config.streams.keys() - self.streams.keys():
                self._board.expect(name)
            self._identification.follow(config.identity)
            self._measured.configured(config.site, config.revision)
            self._fleet.want(self._wanted(config, places), _paused(config))
            for name in self.streams.keys() - config.streams.keys():
                if not self._fleet.has(name):  # no worker will say that it is gone: it was paused, or kept apart
                    self._gone(name)
            for name in _paused(config):
                if not self._fleet.has(name) and self.streams[name].state != StreamState.PAUSED:
                    self._board.told_here(name, StreamState.PAUSED, {})
            self._bridges.want(config)
            self._previews.want(config)
            await self._detectors.retire(unused)
            log.info("config applied", revision=config.revision, **_difference(before, config))

    def _detector_ready(self, place: DetectorPlace) -> None:
        for shard in self._fleet.shards:
            if shard.detector is place:
                self._fleet.introduce(shard)

    # -- what the parts tell, and want

    def _model_of(self, stream: str) -> ModelInfo | None:
        place = self._place_of(stream)
        return place.model if place is not None else None

    def _place_of(self, stream: str) -> DetectorPlace | None:
        """Where the stream's model is loaded; None until it is."""
        config = self.config.streams.get(stream)
        places = self._detectors.places.get(config.detector, ()) if config is not None else ()
        return next((place for place in places if place.model is not None), None)

    def _publish_status(self, stream: str, state: StreamState, details: dict[str, Any]) -> None:
        place = self._place_of(stream)
        if self._delivery is not None and place is not None and place.model is not None:
            composer = Composer(self.config.site, place.model, self.config.revision_of(stream), place.confidence)
            self._delivery.publisher.status(composer.status(stream, state.value, time.time_ns(), **details))

    def _gone(self, stream: str) -> None:
        self._board.gone(stream, paused=stream in _paused(self.config))

    def _promised(self) -> None:
        if self._delivery is not None:
            self._delivery.wake()

    async def _interrupted(self, worker: Child) -> None:
        if self._delivery is not None:
            await self._delivery.interrupted(worker.pid)

    def _workers(self) -> Iterator[tuple[Child, list[str]]]:
        """Those that have started, and the streams that they are to keep."""
        for shard in self._fleet.shards:
            if shard.child is not None and shard.child.ready.is_set() and not shard.child.ended.is_set():
                yield shard.child, [seat.order.name for seat in shard.seats.values() if not seat.leaving]

    # -- the processes

    async def _spawn_worker(self, name: str) -> Child:
        return await self._children.spawn(name, WORKER, self._hear_worker)

    def _hear_worker(self, child: Child, order: Order) -> None:
        if order.kind in (LOOKED, DEPARTED):
            self._identification.hear(child, order)
        else:
            self._fleet.hear(child, order)

    async def _spawn_preview(self, name: str, hear: Callable[[Child, Order], None]) -> Child:
        return await self._children.spawn(name, PREVIEW, hear)

    async def _spawn_detector(self, name: str) -> Child:
        return await self._children.spawn(name, DETECTOR, self._detectors.hear)

    def _child_ended(self, child: Child) -> None:
        self._identification.gone(child.name)
        if not child.told_to_stop:
            self._measured.restarted(child.name)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            systemd.tell(systemd.ALIVE)
            self._children.look_after()
            self._fleet.look_after()
            self._previews.look_after()
            self._identification.look_after()

    async def _measure(self) -> None:
        folders = {"state": self.config.state_folder, "media": self.config.media_folder}
        while True:
            await asyncio.to_thread(self._measured.look_at_disks, folders)
            self.metrics.refresh()
            await asyncio.sleep(MEASURE_S)

    async def _measure_gpus(self) -> None:
        """What asks the driver is apart: it may hang."""
        nvml = await asyncio.to_thread(Nvml.open)
        while nvml is not None:
            self._measured.gpus.readings = await asyncio.to_thread(nvml.read)
            await asyncio.sleep(MEASURE_S)

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
        self.audience.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Workers first: they still need the detector's answers and the server's acknowledgements.
        children = self._children
        detectors = frozenset(place.child for place in self._detectors.all())
        bridges = frozenset([self._bridges.child])
        await children.stop(PREVIEW_STOP_S, [self._previews.child])
        await children.stop(WORKER_STOP_S, children.living - detectors - bridges)
        await children.stop(DETECTOR_STOP_S, detectors)
        if self._delivery is not None:
            await self._delivery.close()
        # After the last event has been published.
        await children.stop(BRIDGES_STOP_S, bridges)
        if children.traces is not None:
            await children.traces.close()
        if self._nats is not None:
            await self._nats.stop()
        log.info("stopped")


def _paused(config: VigilConfig) -> list[str]:
    """Streams that are known and not served."""
    return [name for name, stream in config.streams.items() if stream.paused]


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
