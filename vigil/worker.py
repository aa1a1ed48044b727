"""A worker process: a shard of cameras, from packets to published messages.

| runs                | where                                      | ends                        |
|---------------------|--------------------------------------------|-----------------------------|
| `Worker.run`        | the main thread's asyncio loop             | on `stop`, or when the supervisor is gone |
| `StreamReader.run`  | one daemon thread per stream               | on stop, or at a file's end |
| `Publisher`         | a task in the loop, and a thread that writes to the outbox | with the loop |
| WHIP publishers     | tasks in the loop, one each, and a thread of aiortc's each, which decodes | with the publisher |
| answers to questions | tasks in the loop                         | when answered               |
| `Darkroom`           | one thread, once there is media to make   | with the process            |
| `Studio`             | up to 4 threads, while somebody watches pictures that are drawn on | with the last viewer |
| `PreviewLink`        | the loop                                  | when the preview process is gone |

Everything but reading happens in the loop. The process is forked with its imports done (`vigil/forkserver.py`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
import uvloop

from inference import masks
from inference.model import ModelInfo
from ingest import motion, patches, privacy, shrink
from ingest.activity import Activity
from ingest.ring import Ring
from publish.connection import Connection
from publish.media.darkroom import Darkroom
from publish.media.folder import MediaFolder
from publish.metrics import in_parts, snapshot
from publish.outbox import Outbox, OutboxError
from publish.preview.gallery import Gallery
from publish.publisher import Publisher
from publish.subjects import Subjects
from publish.tracing.tracer import Tracer
from publish.trouble import Troubles
from tracking import lifecycle
from tracking.config import TrackerConfig
from tracking.events import Identity
from vigil import logging
from vigil.asking import answer
from vigil.control import Control, Order
from vigil.identification import Inquiries
from vigil.link import DetectorLink
from vigil.orders import StreamOrder, WorkerOrder
from vigil.services import Services, WorkerMetrics
from vigil.stream import NotReadingError, Stream
from vigil.warm_tracker import warm_tracker

log = structlog.get_logger()

BEAT_S = 1.0
READERS_STOP_S = 1.5
POLL_S = 0.01
PUBLISH_STOP_S = 3.0
CLOSE_S = 0.5
# A control message holds at most this many samples; sockets limit a message's size.
SAMPLES_PER_MESSAGE = 400


class Worker:
    def __init__(self, control: Control) -> None:
        self._control = control
        self._link: DetectorLink | None = None
        self._joining: DetectorLink | None = None
        self._device_task: asyncio.Task[None] | None = None
        self._ring: Ring | None = None
        self._streams: dict[int, Stream] = {}  # by number
        self._metrics = WorkerMetrics()
        self._connection: Connection | None = None
        self._publisher: Publisher | None = None
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()  # of orders that take a while
        self._confidence = 0.0
        self._services: Services | None = None
        self._inquiries = Inquiries(control.send)
        self._capacity = self._slots_per_stream = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control.link, self._control.heed, self._obey)
        self._control.send("ready")
        beat = asyncio.create_task(self._beat(), name="beat")
        stopping = asyncio.create_task(self._stopping.wait(), name="stopping")
        await asyncio.wait([beat, stopping], return_when=asyncio.FIRST_COMPLETED)
        if beat.done():
            log.error("worker fails", error=repr(beat.exception()))
            os._exit(1)
        await self._stop()
        beat.cancel()

    # -- orders

    def _obey(self, order: Order) -> None:
        match order.kind:
            case "assign":
                self._assign(WorkerOrder.model_validate(order.data), order.fds[0])
            case "add":
                self._add(order.data["number"], StreamOrder.model_validate(order.data["stream"]))
            case "revision":
                self._streams[order.data["number"]].revise(order.data["config_rev"])
            case "remove":
                stream = self._streams[order.data["number"]]
                paused = order.data["paused"]
                self._task(self._remove(stream, order.data["patience_s"], paused), f"remove {stream.name}")
            case "detector":
                self._confidence = order.data["confidence"]
                self._attach(socket.socket(fileno=order.fds[0]), ModelInfo.from_json(order.data["model"]))
            case "identified":
                self._identified(order.data)
            case "preview":
                self._task(self._show(socket.socket(fileno=order.fds[0])), "preview")
            case "ask":
                self._task(answer(self._control, order, self._answer), order.data["question"])
            case "stop":
                self._stopping.set()

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _show(self, end: socket.socket) -> None:
        assert self._services is not None and self._services.gallery is not None, "a worker is assigned first"
        await self._services.gallery.connect(end)

    def _identified(self, told: dict[str, Any]) -> None:
        self._inquiries.answered()
        stream = self._stream(told["stream"])
        if stream is not None:  # it may have been removed meanwhile
            who = Identity(told["global_id"], told["confidence"])
            stream.identified(told["session"], told["track"], who)

    def _stream(self, name: str) -> Stream | None:
        return next((stream for stream in self._streams.values() if stream.name == name), None)

    async def _answer(self, question: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Every question is about a stream."""
        name = asked.pop("stream")
        stream = self._stream(name)
        if stream is None:
            raise NotReadingError(f"stream {name!r} is not here")
        return await stream.answer(question, asked)

    def _assign(self, order: WorkerOrder, activity_fd: int) -> None:
        try:
            outbox = Outbox.open(order.outbox, os.getpid())
        except OutboxError as error:
            log.error("worker fails", error=str(error), code=error.code)
            os._exit(1)
        metrics = self._metrics
        self._connection = Connection(
            order.nats, order.nats_url, f"vigil {order.site}", metrics.publish.connected.set,
            Troubles(metrics.publish.trouble),
        )  # fmt: skip
        self._publisher = Publisher(
            Subjects.of(order.nats, order.site), outbox, metrics.publish, metrics.outbox,
            lambda: self._control.send("promised"), self._connection.troubles, self._connection,
            order.nats.frames_format, order.traced,
        )  # fmt: skip
        self._services = Services(
            site=order.site,
            activity=Activity(activity_fd, order.capacity),
            publisher=self._publisher,
            metrics=self._metrics,
            link=lambda: self._link,
            call=asyncio.get_running_loop().call_soon_threadsafe,
            report=self._report,
            inquiries=self._inquiries,
            darkroom=Darkroom(
                MediaFolder(order.media.folder, order.media.least_free), self._metrics.media,
                self._metrics.stage.labels("media").observe,
            ),
            gallery=Gallery(
                self._metrics.preview, self._metrics.stage.labels("preview").observe,
                asyncio.get_running_loop().call_soon_threadsafe,
            ),
            tracer=Tracer(order.site, order.traced, self._metrics.tracing) if order.traced else None,
        )  # fmt: skip
        self._capacity, self._slots_per_stream = order.capacity, order.slots_per_stream
        for number, stream in order.streams.items():
            self._add(number, stream)

    def _add(self, number: int, order: StreamOrder) -> None:
        assert self._services is not None, "a worker is assigned before streams are added"
        slots = range(number * self._slots_per_stream, (number + 1) * self._slots_per_stream)
        stream = self._streams[number] = Stream(order, number, slots, self._services)
        if self._link is not None:
            stream.start(self._link.model, self._confidence)

    async def _remove(self, stream: Stream, patience_s: float, paused: bool) -> None:
        """Lets go of a stream, whose reader may be stuck in a call: its number is then free only when that returns."""
        stream.stop(paused)
        await _until(stream.settled, patience_s)
        stream.finish()
        self._send_metrics()
        self._metrics.forget(stream.name)
        free = stream.settled()
        self._control.send("removed", stream=stream.name, number=stream.number, free=free)
        if not free:
            await _until(stream.settled, None)
            self._metrics.forget(stream.name)  # its reader may have measured something meanwhile
            self._control.send("freed", number=stream.number)
        del self._streams[stream.number]

    def _attach(self, link: socket.socket, model: ModelInfo) -> None:
        """Takes a link to a detector, the first or a restarted one."""
        self._detach()
        slot_bytes = 3 * model.image_size**2
        if self._ring is None or self._ring.slot_bytes < slot_bytes:
            old, self._ring = self._ring, Ring.create(self._capacity * self._slots_per_stream, slot_bytes)
            if old is not None:
                asyncio.get_running_loop().call_later(READERS_STOP_S, old.close)  # a reader may be filling a slot
        try:
            joining = self._joining = DetectorLink(link, self._ring, model)
        except OSError:
            link.close()  # it died meanwhile; the supervisor will send another link
            return
        if joining.awaits_device:
            self._device_task = asyncio.create_task(self._join_device(joining, model), name="join device")
        else:
            self._join(joining, model)

    async def _join_device(self, link: DetectorLink, model: ModelInfo) -> None:
        """As `_join`, after what takes seconds: CUDA has to start in this process."""
        try:
            await asyncio.to_thread(link.open_device_ring)
        except (EOFError, OSError):
            link.close()  # it died meanwhile
            return
        if link is self._joining:
            self._join(link, model)
        else:
            link.close()  # there is another detector by now

    def _join(self, link: DetectorLink, model: ModelInfo) -> None:
        self._link, self._joining = link, None
        asyncio.get_running_loop().add_reader(link.socket, self._read_answer, link)
        for stream in self._streams.values():
            stream.start(model, self._confidence)

    def _detach(self) -> None:
        if self._link is None:
            return
        asyncio.get_running_loop().remove_reader(self._link.socket)
        self._link.close()
        self._link = None
        for stream in self._streams.values():
            stream.detector_lost()

    # -- the detector

    def _read_answer(self, link: DetectorLink) -> None:
        try:
            answer = link.answer()
        except EOFError:
            log.warning("detector is gone; frames are dropped until it is back")
            self._detach()
            self._control.send("unlinked")  # it may be alive, and have let go of a worker that did not read
            return
        if answer is not None:
            self._streams[answer.stream].answered(answer)

    # -- the supervisor

    def _report(self, stream: str, state: str, details: dict[str, Any]) -> None:
        self._control.send("state", stream=stream, state=state, details=details)

    async def _beat(self) -> None:
        while True:
            if self._publisher is not None and self._publisher.failure is not None:
                log.error("publisher failed", error=self._publisher.failure)
                os._exit(1)
            for stream in self._streams.values():
                stream.watch(time.monotonic_ns())
            self._send_metrics()
            await asyncio.sleep(BEAT_S)

    def _send_metrics(self) -> None:
        connected = self._connection is not None and self._connection.connected
        for part, more in in_parts(snapshot(self._metrics.registry), SAMPLES_PER_MESSAGE):
            self._control.send("metrics", families=part, more=more)
        if self._services is not None and self._services.tracer is not None:
            self._control.send("traces", traces=self._services.tracer.fetch())
        troubles = self._connection.troubles.told() if self._connection is not None else []
        self._control.send("beat", nats=connected, troubles=troubles)

    # -- the end

    async def _stop(self) -> None:
        """Drains: readers end, frames in flight are answered, open tracks end, messages leave."""
        streams = list(self._streams.values())
        for stream in streams:
            stream.stop()
        await _until(lambda: all(stream.settled() for stream in streams), READERS_STOP_S)
        for stream in streams:
            stream.finish()
        developed = asyncio.ensure_future(_until(self._nothing_to_make, PUBLISH_STOP_S))
        if self._publisher is not None and self._connection is not None:
            lost = await self._publisher.close(PUBLISH_STOP_S)
            if lost:
                log.error("events could not be written before the end", count=lost)
            await self._connection.close(CLOSE_S)
        await developed
        self._send_metrics()
        self._detach()

    def _nothing_to_make(self) -> bool:
        return self._services is None or self._services.darkroom is None or self._services.darkroom.idle


async def _until(condition: Callable[[], bool], timeout_s: float | None) -> None:
    """Returns once the condition holds, or the time is over; whatever was told before has then been heard."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while not condition() and (ends is None or time.monotonic() < ends):
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(0)


# What takes the longest to compile comes first.
WARM_UPS = (
    partial(warm_tracker, TrackerConfig()), patches.warm_up, motion.warm_up, lifecycle.warm_up, shrink.warm_up,
    masks.warm_up, privacy.warm_up,
)  # fmt: skip


def main(control: Control) -> None:
    logging.configure(level="debug", style="json")
    uvloop.run(Worker(control).run())
    os._exit(0)  # readers may be stuck in FFmpeg; everything that matters has left
