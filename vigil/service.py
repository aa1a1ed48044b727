"""The supervisor: starts and watches everything else, and restarts what ends.

| runs                        | where                                              |
|-----------------------------|----------------------------------------------------|
| this class                  | the main process's asyncio loop                    |
| HTTP (uvicorn)              | a task in the same loop                            |
| nats-server                 | a child process, when `nats.url` is `embedded`     |
| detectors                   | child processes, one for each model and device     |
| workers, and one in reserve | child processes, `workers.streams_per_worker` each |
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import SecretStr

from inference.errors import ModelError
from inference.model import ModelInfo
from ingest.errors import VigilError
from ingest.reconnect import StreamState
from ingest.redact import redact
from ingest.webrtc.config import WebRtcConfig
from publish import http
from publish.metrics import MergedMetrics
from publish.subjects import Subjects
from vigil.asking import UnansweredError
from vigil.child import Child
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.layout import DetectorPlace, Shard, lay_out
from vigil.nats_server import NatsServer
from vigil.orders import StreamOrder, WorkerOrder
from vigil.state import Addresses, StateFolder

log = structlog.get_logger()

WORKER, DETECTOR = "vigil.worker", "vigil.detector"
# A child that has said nothing for this long is hung, whatever its process looks like.
SILENCE_S = 10.0
# Starting may import and convert for long.
START_SILENCE_S = 180.0
WORKER_STOP_S = 5.0
DETECTOR_STOP_S = 1.0
# Delay before the nth restart in a row; a child that lived for a while starts afresh.
RESTART_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0


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

    def __init__(self, config: VigilConfig) -> None:
        self.config = config
        self.metrics = MergedMetrics()
        self.streams = {name: StreamView() for name in config.streams}
        self.subjects = Subjects(config.nats.prefix or f"vigil.{config.site}")
        self.started = asyncio.Event()
        self.nats_url = config.nats.url
        self.http_url: str | None = None
        self._state = StateFolder(config.state_folder)
        self._nats: NatsServer | None = None
        self._spare: Child | None = None
        self._children: set[Child] = set()
        self._connected: dict[str, bool] = {}
        self._last_sessions: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._detectors, self._shards = lay_out(config)

    # -- what others may ask

    def ready(self) -> dict[str, bool]:
        """The parts that must stand before the service is of use, and whether they do."""
        return {
            "model": all(place.ready for place in self._detectors),
            "workers": all(shard.child is not None and not shard.child.ended.is_set() for shard in self._shards),
            "nats": bool(self._connected) and all(self._connected.values()),
        }

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
        for shard in self._shards:
            if stream in shard.streams and shard.child is not None and shard.child.ready.is_set():
                return await shard.child.ask(question, stream=stream, **data)
        raise UnansweredError(f"no worker has stream {stream!r} at present")

    def models(self) -> list[ModelInfo]:
        """The models that are loaded."""
        return [place.model for place in self._detectors if place.model is not None]

    def pids(self) -> dict[str, int]:
        """Process ids by role."""
        children = {place.name: place.child for place in self._places()}
        children["standby"] = self._spare
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
            self._task(self._watch_silence(), "watchdog")
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
        workers = [await self._spawn_worker(shard.name) for shard in self._shards]
        if self.config.nats.url == "embedded":
            self._nats = NatsServer(self.config.state_folder / "nats", self.config.nats.port)
            await self._nats.start()
            self.nats_url = self._nats.url
            self._task(self._nats.supervise(), "nats")
        await asyncio.gather(*(self._start_detector(place) for place in self._detectors))
        for shard, worker in zip(self._shards, workers, strict=True):
            self._occupy(shard, worker)
        if self.config.workers.standby:
            self._spare = await self._spawn_worker("standby")

    def _places(self) -> list[DetectorPlace | Shard]:
        return [*self._detectors, *self._shards]

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a part of the supervisor failed", part=task.get_name(), error=repr(error))

    async def _spawn(self, name: str, module: str) -> Child:
        child = Child(name, module, self._hear)
        self._children.add(child)
        await child.start()
        return child

    # -- the detectors

    async def _start_detector(self, place: DetectorPlace) -> None:
        place.child = child = await self._spawn(place.name, DETECTOR)
        child.send("assign", detector=place.config.model_dump(mode="json"), tested=place.model is not None)
        await _first(child.ready.wait(), child.ended.wait())
        if not child.ready.is_set():
            raise ModelError(f"{place.name}: {child.failure or f'the process ended with exit code {child.exit_code}'}")
        for shard in self._shards:
            self._introduce(shard)
        self._task(self._keep_detector(place, child), f"keep {place.name}")

    async def _keep_detector(self, place: DetectorPlace, child: Child) -> None:
        await child.ended.wait()
        self._mourn(child)
        place.restarts = _restarts(child, place.restarts)
        await asyncio.sleep(_restart_delay(place.restarts))
        while True:
            try:
                await self._start_detector(place)
                return
            except ModelError as error:
                log.error("detector does not start; trying again", error=str(error))
                await asyncio.sleep(RESTART_DELAYS_S[-1])

    def _introduce(self, shard: Shard) -> None:
        """Gives a worker and its detector the two ends of a new link, once both have started."""
        worker, detector, model = shard.child, shard.detector.child, shard.detector.model
        if worker is None or detector is None or model is None:
            return
        if not (worker.ready.is_set() and detector.ready.is_set()):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            detector.send("worker", link=theirs, worker=worker.name)
            worker.send("detector", link=ours, model=model.to_json())

    # -- the workers

    async def _spawn_worker(self, name: str) -> Child:
        return await self._spawn(name, WORKER)

    def _occupy(self, shard: Shard, child: Child) -> None:
        """Gives a shard's streams to a started worker."""
        self.metrics.gone(child.name)
        child.name = shard.name
        shard.child = child
        config = self.config
        order = WorkerOrder(
            site=config.site,
            config_rev=config.revision,
            nats=config.nats,
            nats_url=self.nats_url,
            confidence=shard.detector.confidence,
            slots_per_stream=config.workers.slots_per_stream,
            streams=[
                StreamOrder(
                    name=name,
                    source=config.streams[name],
                    tracker=config.tracker_of(name),
                    last_session=self._last_sessions.get(name, 0),
                )
                for name in shard.streams
            ],
        )
        child.send("assign", **order.model_dump(mode="json"))
        self._introduce(shard)
        self._task(self._keep_worker(shard, child), f"keep {shard.name}")

    async def _keep_worker(self, shard: Shard, child: Child) -> None:
        await child.ended.wait()
        self._mourn(child)
        shard.restarts = _restarts(child, shard.restarts)
        await asyncio.sleep(_restart_delay(shard.restarts))
        spare, self._spare = self._spare, None
        if spare is None or spare.ended.is_set():
            spare = await self._spawn_worker(shard.name)
        self._occupy(shard, spare)
        log.info("worker replaced", process=shard.name, pid=spare.pid)
        if self.config.workers.standby and self._spare is None:
            self._spare = await self._spawn_worker("standby")

    def _mourn(self, child: Child) -> None:
        self._children.discard(child)
        self.metrics.gone(child.name)
        self._connected.pop(child.name, None)
        log.error("process ended; restarting it", process=child.name, exit_code=child.exit_code)

    # -- what children say

    def _hear(self, child: Child, order: Order) -> None:
        match order.kind:
            case "metrics":
                self.metrics.update(child.name, order.data["families"])
            case "beat" if "nats" in order.data and child is not self._spare:
                self._connected[child.name] = order.data["nats"]
            case "state":
                stream, details = order.data["stream"], order.data["details"]
                self.streams[stream] = StreamView(order.data["state"], details)
                if "session" in details:
                    self._last_sessions[stream] = details["session"]
            case "unlinked":
                for shard in self._shards:
                    if shard.child is child and shard.detector.ready:
                        self._introduce(shard)
            case "ready":
                for place in self._detectors:
                    if place.child is child:
                        place.model = ModelInfo.from_json(order.data["model"])
                        log.info("model ready", detector=place.name, classes=len(place.model.names),
                                 **{k: v for k, v in order.data["model"].items() if k != "names"})  # fmt: skip
                for shard in self._shards:
                    if shard.child is child:
                        self._introduce(shard)

    async def _watch_silence(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for child in [self._spare, *(place.child for place in self._places())]:
                if child is None or child.ended.is_set():
                    continue
                allowed = SILENCE_S if child.ready.is_set() else START_SILENCE_S
                if time.monotonic() - child.last_beat > allowed:
                    log.error("process hangs; killing it", process=child.name, silent_s=round(allowed))
                    child.kill()
            if self._spare is not None and self._spare.ended.is_set():
                log.warning("worker in reserve ended; starting another", exit_code=self._spare.exit_code)
                self._children.discard(self._spare)
                self._spare = await self._spawn_worker("standby")

    async def _stop_at_the_end(self, stop: asyncio.Event) -> None:
        """When all streams were files and have ended, so has the service."""
        if not all(stream.ends for stream in self.config.streams.values()):
            return
        final = {StreamState.ENDED.value, StreamState.FAILED.value}
        while not all(view.state in final for view in self.streams.values()):
            await asyncio.sleep(0.1)
        log.info("every stream has ended")
        stop.set()

    # -- the end

    async def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Workers first: they still need the detector's answers and the server's acknowledgements.
        detectors = {place.child for place in self._detectors if place.child is not None}
        await asyncio.gather(*(child.stop(WORKER_STOP_S) for child in self._children - detectors))
        await asyncio.gather(*(child.stop(DETECTOR_STOP_S) for child in detectors))
        if self._nats is not None:
            await self._nats.stop()
        log.info("stopped")


def _restarts(child: Child, before: int) -> int:
    """How many times in a row a child ended soon after it had started."""
    return 0 if time.monotonic() - child.started_at > STEADY_S else before + 1


def _restart_delay(restarts: int) -> float:
    return RESTART_DELAYS_S[min(max(restarts - 1, 0), len(RESTART_DELAYS_S) - 1)]


async def _first(*waits: Coroutine[Any, Any, Any]) -> None:
    """Returns when one of them has; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
