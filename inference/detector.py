"""The detector: takes filled ring slots from all workers, batches them through the runtime, answers with boxes.

Every method says which thread calls it; the process that starts the threads is `vigil/detector.py`.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import structlog

from inference import channel
from inference.channel import Answer, Filled, Outcome
from inference.cost import CostCurve, measure
from inference.features import Features
from inference.forecast import Forecast
from inference.found import NOTHING, Found
from inference.heads import Head, Outputs
from inference.metrics import DetectorMetrics
from inference.pooling import pooled
from inference.runtimes import Picture, Runtime, detect_on_device, gpu_of
from inference.scheduler import Scheduler
from ingest.ring import Ring

if TYPE_CHECKING:
    from ingest.device_ring import DeviceRing

log = structlog.get_logger()

MAX_FAILURES_IN_A_ROW = 10
STUCK_INFERENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A worker: its link, its ring, and the one in GPU memory where it has one."""

    worker: str
    link: socket.socket
    ring: Ring
    device_ring: DeviceRing | None = None

    def picture(self, frame: Filled) -> Picture:
        """What the worker filled."""
        ring = self.device_ring if frame.on_device and self.device_ring else self.ring
        return ring.picture(frame.slot, frame.height, frame.width)


@dataclass(frozen=True, slots=True)
class _Job:
    peer: Peer
    frame: Filled


def decoded(
    head: Head, typical: Features | None, outputs: Outputs, height: int, width: int, wants_features: bool
) -> Found:
    """What is in a picture, and, if so wanted, looks like; `typical` as for `Detector`."""
    if typical is None:
        return head.decode(outputs, height, width)
    *outputs, grid = outputs
    found = head.decode(outputs, height, width)
    if wants_features:
        features = pooled(grid, found.rows[:, :4], height // len(grid), typical)
        found = replace(found, features=features.astype(np.float16))
    return found


class Detector:
    def __init__(
        self,
        runtime: Runtime,
        head: Head,
        metrics: DetectorMetrics,
        batch: int | Literal["auto"],
        max_wait_s: float,
        typical: Features | None = None,
    ) -> None:
        """`batch` bounds a batch, as the runtime does; a frame is held for others for `max_wait_s` at most.

        `typical`: what all objects have in common, of a runtime whose last output is its feature map.
        """
        self._typical = typical
        self.runtime = runtime
        self._head = head
        self._metrics = metrics
        metrics.threads.set(runtime.parallel)
        self._work = threading.Condition()
        self._batch = batch
        self._max_wait_s = max_wait_s
        self._scheduler: Scheduler[_Job] = Scheduler()
        self._forecast = Forecast()
        self._held_since: float | None = None
        # What batches cost, by input size, for the sizes that the model is ready for.
        self._ready: dict[Hashable, CostCurve] = {}
        self._limits: dict[Hashable, int] = {}
        self._refused: set[Hashable] = set()
        # At most one entry per input size; sizes are multiples of the stride up to the image size.
        self._to_prepare: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._requested: set[Hashable] = set()
        self._stopping = False
        self._failures = 0
        self._device_rings: dict[str, DeviceRing] = {}  # by worker
        self._busy_since: dict[int, float] = {}  # inference thread -> when its current batch began

    # -- called by the thread that reads the links

    def attach(self, worker: str, link: socket.socket) -> Peer:
        """Takes on a worker whose link was just received; waits for its first message."""
        fd, slots, slot_bytes, wants_device_ring = channel.receive_hello(link)
        ring = Ring(fd, slots, slot_bytes)
        if not wants_device_ring:
            return Peer(worker, link, ring)
        device_ring, handle = self._device_ring(worker, slots, slot_bytes)
        try:
            channel.send_grant(link, handle)
        except OSError:
            ring.close()
            raise
        return Peer(worker, link, ring, device_ring)

    def _device_ring(self, worker: str, slots: int, slot_bytes: int) -> tuple[DeviceRing | None, bytes | None]:
        """GPU memory for a worker and what it is opened by, if the runtime can read such memory.

        A worker that replaces another takes over its ring: the memory is never freed while a process may write to it.
        """
        gpu = gpu_of(self.runtime)
        if gpu is None:
            return None, None
        from ingest.device_ring import DeviceRing  # PyTorch, which such a runtime has loaded

        try:
            ring = self._device_rings.get(worker)
            if ring is None or (ring.slots, ring.slot_bytes) != (slots, slot_bytes):
                ring = self._device_rings[worker] = DeviceRing.create(slots, slot_bytes, gpu)
            return ring, ring.handle()
        except RuntimeError as error:  # CUDA's: no memory left, or none that can be shared
            log.error("frames go through the host's memory: no GPU memory to share", worker=worker, error=str(error))
            return None, None

    def read(self, peer: Peer) -> bool:
        """Takes what the worker has sent next; False when it is gone."""
        try:
            data = peer.link.recv(channel.FILLED_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data:
            self._offer(_Job(peer, channel.unpack_filled(data)))
        return bool(data)

    def detach(self, peer: Peer) -> None:
        """Lets go of a worker that is gone."""
        with self._work:
            gone = {stream for stream in self._scheduler.streams() if stream[0] == peer.worker}
            self._scheduler.forget(gone)
            self._forecast.forget(gone)
        peer.link.close()
        peer.ring.close()

    def hangs(self) -> bool:
        """Whether an inference has been under way for longer than any takes."""
        now = time.monotonic()
        return any(now - since > STUCK_INFERENCE_S for since in list(self._busy_since.values()))

    def stop(self) -> None:
        with self._work:
            self._stopping = True
            self._work.notify_all()
        self._to_prepare.put(None)

    def _offer(self, job: _Job) -> None:
        frame = job.frame
        size = (frame.height, frame.width)
        if size not in self._requested:
            self._requested.add(size)
            self._to_prepare.put(size)
        replaced = None
        with self._work:
            refused = size in self._refused
            if not refused:
                self._forecast.came((job.peer.worker, frame.stream), time.monotonic())
                replaced = self._scheduler.offer(
                    (job.peer.worker, frame.stream), size, job, frame.keep_all, frame.weight
                )
                self._work.notify()
        if refused:
            self._answer(job, Outcome.ERROR)
        if replaced is not None:
            self._answer(replaced, Outcome.REPLACED)

    # -- called by the preparing thread

    def run_preparing(self) -> None:
        """Compiles the model for input sizes as they are first seen, so that no other stream waits for it."""
        while (size := self._to_prepare.get()) is not None:
            began = time.monotonic()
            try:
                self.runtime.prepare(*size)
                cost = measure(self.runtime, *size)
            except Exception as error:  # whatever a runtime raises: the other sizes go on
                log.error("input size refused", size=f"{size[1]}x{size[0]}", error=str(error))
                self._refuse(size)
                continue
            log.info("input size ready", size=f"{size[1]}x{size[0]}", seconds=round(time.monotonic() - began, 2),
                     batch=self._limit(cost), frame_ms=round(cost.seconds(1) * 1e3, 1))  # fmt: skip
            with self._work:
                self._ready[size], self._limits[size] = cost, self._limit(cost)
                self._work.notify_all()

    def _refuse(self, size: Hashable) -> None:
        waiting: list[_Job] = []
        with self._work:
            self._refused.add(size)
            while jobs := self._scheduler.take({size: 1}):
                waiting += jobs
        for job in waiting:
            self._answer(job, Outcome.ERROR)

    # -- called by each of the `runtime.parallel` inference threads

    def run_inference(self) -> None:
        thread = threading.get_ident()
        while batch := self._next_batch():
            self._busy_since[thread] = time.monotonic()
            self._infer(batch)
            self._metrics.busy.inc(time.monotonic() - self._busy_since.pop(thread))

    def _next_batch(self) -> list[_Job]:
        with self._work:
            while True:
                if self._stopping:
                    return []
                hold_s = self._hold_s(time.monotonic())
                if not hold_s and (batch := self._scheduler.take(self._limits)):
                    self._held_since = None
                    return batch
                self._work.wait(hold_s)

    def _limit(self, cost: CostCurve) -> int:
        return min(cost.best_batch if self._batch == "auto" else self._batch, self.runtime.max_batch)

    def _hold_s(self, now_s: float) -> float | None:
        """How long to hold what is waiting, so that the next frame may share its batch; None: not at all."""
        waiting, next_in_s = len(self._scheduler), self._forecast.next_in(now_s)
        if not waiting:
            self._held_since = None
        if len(self._ready) != 1 or not waiting or next_in_s is None:
            return None  # with several input sizes, the next frame may not fit the batch
        ((size, cost),) = self._ready.items()
        if self._held_since is None:
            self._held_since = now_s
        left_s = self._held_since + self._max_wait_s - now_s
        may_grow = waiting < self._limits[size] and next_in_s <= left_s
        return next_in_s if may_grow and cost.waiting_pays(waiting, next_in_s) else None

    def _infer(self, batch: list[_Job]) -> None:
        began = time.monotonic_ns()
        try:
            pictures = [job.peer.picture(job.frame) for job in batch]
            height, width = batch[0].frame.height, batch[0].frame.width
            found = detect_on_device(self.runtime, pictures)
            outputs = self.runtime.infer(pictures) if found is None else []
            inferred = time.monotonic_ns()
            if found is None:
                found = [
                    self._found([output[index] for output in outputs], height, width, job.frame.wants_features)
                    for index, job in enumerate(batch)
                ]
        except Exception as error:  # whatever a runtime raises must reach the workers as an answer
            self._failed(batch, error)
            return
        self._failures = 0
        infer_s = (inferred - began) / 1e9
        self._metrics.batch.observe(len(batch))
        self._metrics.infer.observe(infer_s)
        post_s = (time.monotonic_ns() - inferred) / 1e9
        self._metrics.post.observe(post_s)
        for job, one in zip(batch, found, strict=True):
            wait_s = (began - job.frame.sent_ns) / 1e9
            self._metrics.wait.observe(wait_s)
            self._send(job.peer, Answer(
                job.frame.slot, job.frame.stream, Outcome.ANALYSED, len(batch), job.frame.seq, wait_s, infer_s, one,
                post_s,
            ))  # fmt: skip

    def _found(self, outputs: Outputs, height: int, width: int, wants_features: bool) -> Found:
        """What an answer can carry: all boxes, and the details of the best of them."""
        found = decoded(self._head, self._typical, outputs, height, width, wants_features)
        fitting = found.within(channel.MAX_DETAIL_BYTES)
        if fitting is not found:
            self._metrics.details_dropped.inc(found.detailed - fitting.detailed)
        return fitting

    def _failed(self, batch: list[_Job], error: Exception) -> None:
        self._failures += 1
        self._metrics.errors.inc()
        if self._failures == 1:
            log.error("inference failed", error=f"{type(error).__name__}: {error}")
        for job in batch:
            self._answer(job, Outcome.ERROR)
        if self._failures >= MAX_FAILURES_IN_A_ROW:
            log.error("giving up: inference keeps failing", failures=self._failures)
            os._exit(1)

    # -- called by any of them

    def _answer(self, job: _Job, outcome: Outcome) -> None:
        frame = job.frame
        self._send(job.peer, Answer(frame.slot, frame.stream, outcome, 0, frame.seq, 0.0, 0.0, NOTHING))

    def _send(self, peer: Peer, answer: Answer) -> None:
        try:
            channel.send(peer.link, channel.pack_answer(answer))
        except TimeoutError:
            log.error("worker does not read its answers; letting go of it", worker=peer.worker)
            peer.link.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is gone: the reading thread sees the end of the link and detaches it
