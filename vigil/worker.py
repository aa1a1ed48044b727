"""A worker process: a shard of cameras, from packets to published messages.

| runs                | where                                      | ends                        |
|---------------------|--------------------------------------------|-----------------------------|
| `Worker.run`        | the main thread's asyncio loop             | on `stop`, or when the supervisor is gone |
| `StreamReader.run`  | one daemon thread per stream               | on stop, or at a file's end |
| `Publisher`         | tasks in the loop                          | with the loop               |
| WHIP publishers     | tasks in the loop, one each, and a thread of aiortc's each, which decodes | with the publisher |
| answers to questions | tasks in the loop                         | when answered               |

Everything but reading happens in the loop. The process is started with its imports done and waits to be told its
streams, so that one in reserve can take over from a dead one at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import structlog
import uvloop

from inference import masks
from inference.detections import Detections
from inference.found import Found
from inference.letterbox import Letterbox
from inference.model import ModelInfo
from ingest import privacy, shrink
from ingest.activity import Activity
from ingest.ring import Ring
from publish.metrics import snapshot
from publish.publisher import Publisher
from tracking.config import TrackerConfig
from tracking.rules import geometry
from tracking.trackers import new_tracker
from vigil import logging
from vigil.asking import answer
from vigil.control import Control, Order
from vigil.link import DetectorLink
from vigil.orders import StreamOrder, WorkerOrder
from vigil.services import Services, WorkerMetrics
from vigil.stream import NotReadingError, Stream

log = structlog.get_logger()

BEAT_S = 1.0
READERS_STOP_S = 1.5
POLL_S = 0.01
PUBLISH_STOP_S = 3.0
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
        self._publisher: Publisher | None = None
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()  # of orders that take a while
        self._confidence = 0.0
        self._services: Services | None = None
        self._capacity = self._slots_per_stream = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._control.link, self._read_control)
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

    def _read_control(self) -> None:
        try:
            while order := self._control.receive(wait=False):
                self._obey(order)
        except EOFError:
            os._exit(1)  # the supervisor is gone; nobody will ever ask for anything again

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
                self._task(self._remove(stream, order.data["patience_s"]), f"remove {stream.name}")
            case "detector":
                self._confidence = order.data["confidence"]
                self._attach(socket.socket(fileno=order.fds[0]), ModelInfo.from_json(order.data["model"]))
            case "ask":
                self._task(answer(self._control, order, self._answer), order.data["question"])
            case "stop":
                self._stopping.set()

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Every question is about a stream."""
        name = asked.pop("stream")
        stream = next((stream for stream in self._streams.values() if stream.name == name), None)
        if stream is None:
            raise NotReadingError(f"stream {name!r} is not here")
        return await stream.answer(question, asked)

    def _assign(self, order: WorkerOrder, activity_fd: int) -> None:
        self._publisher = Publisher(order.nats, order.nats_url, order.site, self._metrics.publish)
        self._publisher.start()
        self._services = Services(
            site=order.site,
            activity=Activity(activity_fd, order.capacity),
            publisher=self._publisher,
            metrics=self._metrics,
            link=lambda: self._link,
            call=asyncio.get_running_loop().call_soon_threadsafe,
            report=self._report,
        )
        self._capacity, self._slots_per_stream = order.capacity, order.slots_per_stream
        for number, stream in order.streams.items():
            self._add(number, stream)

    def _add(self, number: int, order: StreamOrder) -> None:
        assert self._services is not None, "a worker is assigned before streams are added"
        slots = range(number * self._slots_per_stream, (number + 1) * self._slots_per_stream)
        stream = self._streams[number] = Stream(order, number, slots, self._services)
        if self._link is not None:
            stream.start(self._link.model, self._confidence)

    async def _remove(self, stream: Stream, patience_s: float) -> None:
        """Lets go of a stream, whose reader may be stuck in a call: its number is then free only when that returns."""
        stream.stop()
        await _until(stream.settled, patience_s)
        stream.finish()
        self._send_metrics()
        self._metrics.forget(stream.name)
        free = stream.settled()
        self._control.send("removed", stream=stream.name, number=stream.number, free=free)
        if not free:
            await _until(stream.settled, None)
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
                log.error("publisher failed", error=repr(self._publisher.failure))
                os._exit(1)
            for stream in self._streams.values():
                stream.watch(time.monotonic_ns())
            self._send_metrics()
            await asyncio.sleep(BEAT_S)

    def _send_metrics(self) -> None:
        connected = self._publisher is not None and self._publisher.connected
        part: list[Any] = []
        room = SAMPLES_PER_MESSAGE
        for name, documentation, kind, samples in snapshot(self._metrics.registry):
            for start in range(0, len(samples), SAMPLES_PER_MESSAGE):
                rows = samples[start : start + SAMPLES_PER_MESSAGE]
                if len(rows) > room:
                    self._control.send("metrics", families=part)
                    part, room = [], SAMPLES_PER_MESSAGE
                part.append((name, documentation, kind, rows))
                room -= len(rows)
        self._control.send("metrics", families=part)
        self._control.send("beat", nats=connected)

    # -- the end

    async def _stop(self) -> None:
        """Drains: readers end, frames in flight are answered, open tracks end, messages leave."""
        streams = list(self._streams.values())
        for stream in streams:
            stream.stop()
        await _until(lambda: all(stream.settled() for stream in streams), READERS_STOP_S)
        for stream in streams:
            stream.finish()
        if self._publisher is not None:
            undelivered = await self._publisher.close(PUBLISH_STOP_S)
            if undelivered:
                log.error("events could not be delivered before the end", count=undelivered)
        self._send_metrics()
        self._detach()


async def _until(condition: Callable[[], bool], timeout_s: float | None) -> None:
    """Returns once the condition holds, or the time is over; whatever was told before has then been heard."""
    ends = None if timeout_s is None else time.monotonic() + timeout_s
    while not condition() and (ends is None or time.monotonic() < ends):
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(0)


def _warm_up() -> None:
    """Loads and compiles what is slow to, while nobody waits for it."""
    shrink.warm_up()
    privacy.warm_up()
    masks.warm_up()
    geometry.warm_up()
    tracker = new_tracker(TrackerConfig(), 25.0)
    for count in (1, 2):  # rows as they come from a detector: one is another type of array than several
        rows = np.frombuffer(np.tile(np.array([0, 0, 9, 9, 1, 0], np.float32), count).tobytes(), np.float32)
        found = Detections.in_source(Found(rows.reshape(count, 6)), Letterbox.fit(32, 32, 32))
        tracker.update(found, count)


def main() -> None:
    # The terminal's Ctrl-C and a container's SIGTERM are for the supervisor, which drains its children in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.configure(level="debug", style="json")
    _warm_up()
    uvloop.run(Worker(Control.inherited(int(sys.argv[1]))).run())
    os._exit(0)  # readers may be stuck in FFmpeg; everything that matters has left


if __name__ == "__main__":
    main()
