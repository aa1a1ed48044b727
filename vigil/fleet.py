"""The workers: which streams each has, and what is done when one ends, hangs, or is harmed by a camera.

Streams are wanted, not commanded: `want` says what should be, and every message and every death leads there again.
Runs in the supervisor's loop.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ingest.activity import Activity
from ingest.reconnect import StreamState
from publish.config import IN_CLEAR, NatsConfig
from publish.metrics import MergedMetrics
from vigil.asking import UnansweredError
from vigil.child import Child, restart_delay, restarts_in_a_row
from vigil.conduct import Conduct
from vigil.config import WorkersConfig
from vigil.control import Order
from vigil.freshness import Fresh, Freshness
from vigil.layout import DetectorPlace, Seat, Shard, emptiest, room, spread
from vigil.orders import MediaOrder, StreamOrder, WorkerOrder

log = structlog.get_logger()

WORKER_STOP_S = 5.0
# Beyond its time-outs, how long a stream's reader may take to end before it counts as stuck.
LEAVE_MARGIN_S = 1.0
SPAWN_RETRY_S = 5.0
# After so many crashes in a row that no stream could be named for, the streams are divided, so that one will be.
UNNAMED_CRASHES = 2
# At most so many streams have workers of their own: what makes all cameras hang (a dead name server) is no camera's
# fault, and must not start a process for each.
MOST_ALONE = 4
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stream that is to be served, and the places of its detector, one for each device."""

    order: StreamOrder
    places: Sequence[DetectorPlace]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a fleet needs of its service.

    `spawn` starts a worker process; `task` runs something in the background. `told` hears what a worker said of a
    stream's state, `told_here` what no worker knows, `gone` that a stream is no longer served by anyone. `promised`
    hears that there is something new in the outbox, `interrupted` of a worker that has ended, before the next starts.
    """

    site: str
    nats: NatsConfig
    nats_url: Callable[[], str]
    outbox: Path
    media: MediaOrder
    traced: float
    metrics: MergedMetrics
    spawn: Callable[[str], Awaitable[Child]]
    task: Callable[[Coroutine[Any, Any, None], str], None]
    told: Callable[[str, StreamState, dict[str, Any]], None]
    told_here: Callable[[str, StreamState, dict[str, Any]], None]
    gone: Callable[[str], None]
    promised: Callable[[], None]
    interrupted: Callable[[Child], Awaitable[None]]


class Fleet:
    def __init__(self, config: WorkersConfig, around: Surroundings) -> None:
        self.shards: list[Shard] = []
        self.connected: dict[str, bool] = {}  # by process: whether it has its NATS connection
        self.nats_troubles: dict[str, list[dict[str, Any]]] = {}  # by process: what is wrong with it
        self._config = config
        self._around = around
        self._wanted: dict[str, Wanted] = {}
        self._resting: set[str] = set()  # paused by a user
        self._conduct = Conduct()
        self._paused: dict[str, float] = {}  # stream -> when it is tried again
        self._last_sessions: dict[str, int] = {}
        self._last_told: dict[str, tuple[StreamState, dict[str, Any]]] = {}  # by workers
        self._freshness = Freshness()
        self._waiting: set[str] = set()  # streams that hang and stay where they are
        self._numbered = 0

    # -- what is wanted

    def plan(self, wanted: Mapping[str, Wanted]) -> None:
        """The first streams, spread evenly over workers that `start` will start."""
        self._wanted = dict(wanted)
        by_detector: dict[str | None, list[str]] = {}
        for name, one in wanted.items():
            by_detector.setdefault(one.places[0].ref, []).append(name)
        for names in by_detector.values():
            places = wanted[names[0]].places
            for streams, place in spread(names, places, self._config.streams_per_worker):
                shard = self._new_shard(place)
                shard.seats = {number: Seat(wanted[name].order) for number, name in enumerate(streams)}

    def want(self, wanted: Mapping[str, Wanted], paused: Collection[str] = ()) -> None:
        """Serves these streams from now on. Those that stay as they were are not disturbed.

        `paused` are some of the others: those whose workers are to say that they are paused, and not stopped.
        """
        for name in self._wanted.keys() | wanted.keys():
            before, after = self._wanted.get(name), wanted.get(name)
            if before is None or after is None or before.order != after.order:
                self._conduct.forget(name)
                self._paused.pop(name, None)
        self._wanted, self._resting = dict(wanted), set(paused)
        for shard in self.shards:
            self._follow_detector(shard)
        self._reconcile()

    def _follow_detector(self, shard: Shard) -> None:
        """A worker whose detector was replaced gets a link to the new one, and goes on."""
        places = next((one.places for one in self._wanted.values() if one.places[0].ref == shard.detector.ref), ())
        if places and shard.detector not in places:
            shard.detector = emptiest(places, self.shards)
            self.introduce(shard)

    def _reconcile(self) -> None:
        """Seats and unseats streams until what is meets what is wanted; more follows as workers answer."""
        for shard in list(self.shards):
            for number, seat in list(shard.seats.items()):
                if seat.leaving:
                    continue
                if self._right(shard, seat):
                    self._revise(shard, number, self._wanted[seat.order.name].order)
                else:
                    self._unseat(shard, number, self._patience_s(seat))
        seated = {name for shard in self.shards for name in shard.streams}
        for name in self._wanted.keys() - seated - self._paused.keys():
            self._seat(self._wanted[name])
        for shard in [shard for shard in self.shards if not shard.seats]:
            self._retire(shard)

    def _right(self, shard: Shard, seat: Seat) -> bool:
        wanted = self._wanted.get(seat.order.name)
        return (
            wanted is not None
            and wanted.order.serves_as(seat.order)
            and shard.detector in wanted.places
            and self._conduct.alone(seat.order.name) == shard.alone
            and seat.order.name not in self._paused
        )

    @staticmethod
    def _revise(shard: Shard, number: int, order: StreamOrder) -> None:
        """The stream goes on as it is, under another revision."""
        if shard.child is not None and shard.seats[number].order.config_rev != order.config_rev:
            shard.child.send("revision", number=number, config_rev=order.config_rev)
        shard.seats[number].order = order

    def _seat(self, wanted: Wanted) -> None:
        name = wanted.order.name
        alone = self._conduct.alone(name)
        shard = None if alone else room(self.shards, wanted.places)
        if shard is None:
            shard = self._new_shard(emptiest(wanted.places, self.shards), alone)
            self._around.task(self._open(shard), f"open {shard.name}")
        number = shard.free_number()
        assert number is not None, "a worker with room has a free number"
        shard.seats[number] = Seat(wanted.order)
        if shard.activity is not None:
            shard.activity.begin(number)
        if shard.child is not None:
            shard.child.send("add", number=number, stream=self._told(wanted.order).model_dump(mode="json"))

    def _unseat(self, shard: Shard, number: int, patience_s: float) -> None:
        seat = shard.seats[number]
        if shard.child is None:
            del shard.seats[number]  # its worker has not been told yet
            self._left(seat.order.name)
            return
        seat.leaving = True
        paused = seat.order.name in self._resting
        shard.child.send("remove", number=number, patience_s=patience_s, paused=paused)

    def _left(self, stream: str) -> None:
        if stream not in self._wanted:
            self._around.metrics.forget(stream)
            self._last_sessions.pop(stream, None)
            self._last_told.pop(stream, None)
            self._around.gone(stream)

    @staticmethod
    def _patience_s(seat: Seat) -> float:
        source = seat.order.source
        return max(source.connect_timeout, source.read_timeout) + LEAVE_MARGIN_S

    def _told(self, order: StreamOrder) -> StreamOrder:
        return order.model_copy(update={"last_session": self._last_sessions.get(order.name, 0)})

    def freshness(self, now_ns: int) -> Mapping[str, Fresh]:
        """How fresh what is known of each stream is."""
        return self._freshness.look(self._wanted.keys(), self.shards, now_ns)

    def has(self, stream: str) -> bool:
        """Whether a worker has the stream, be it about to let go of it."""
        return any(seat.order.name == stream for shard in self.shards for seat in shard.seats.values())

    async def ask(self, stream: str, question: str, fds: Sequence[int] = (), **data: Any) -> dict[str, Any]:
        """What the worker that has the stream answers; it gets copies of the file descriptors.

        Raises:
            UnansweredError, DeclinedError
        """
        worker = self._worker_of(stream)
        if worker is None:
            raise UnansweredError(f"no worker has stream {stream!r} at present")
        return await worker.ask(question, fds=fds, stream=stream, **data)

    def _worker_of(self, stream: str) -> Child | None:
        """The started worker that serves a stream, and is not about to let go of it."""
        for shard in self.shards:
            for seat in shard.seats.values():
                if seat.order.name == stream and not seat.leaving:
                    return shard.child if shard.child is not None and shard.child.ready.is_set() else None
        return None

    # -- workers come and go

    def _new_shard(self, place: DetectorPlace, alone: bool = False) -> Shard:
        capacity = 1 if alone else self._config.streams_per_worker
        shard = Shard(f"worker-{self._numbered}", place, capacity, alone)
        self._numbered += 1
        self.shards.append(shard)
        return shard

    async def start(self) -> None:
        """Starts the planned workers.

        Raises:
            OSError: one cannot be started.
        """
        for shard in list(self.shards):
            self._occupy(shard, await self._around.spawn(shard.name))

    async def _open(self, shard: Shard) -> None:
        child = await self._spawn(shard)
        if shard.retired:
            await child.stop(WORKER_STOP_S)
        else:
            self._occupy(shard, child)

    async def _spawn(self, shard: Shard) -> Child:
        while True:
            try:
                return await self._around.spawn(shard.name)
            except OSError as error:
                log.error("cannot start a process; trying again", process=shard.name, error=str(error))
                await asyncio.sleep(SPAWN_RETRY_S)

    def _occupy(self, shard: Shard, child: Child) -> None:
        """Gives a shard's streams to a started worker."""
        shard.child = child
        if shard.activity is None:
            shard.activity = Activity.create(shard.capacity)
        order = WorkerOrder(
            site=self._around.site,
            nats=self._around.nats,
            nats_url=self._around.nats_url(),
            outbox=self._around.outbox,
            media=self._around.media,
            capacity=shard.capacity,
            slots_per_stream=self._config.slots_per_stream,
            streams={number: self._told(seat.order) for number, seat in shard.seats.items()},
            traced=self._around.traced,
        )
        child.send("assign", [shard.activity.fd], **order.model_dump(mode="json", context={IN_CLEAR: True}))
        self.introduce(shard)
        self._around.task(self._keep(shard, child), f"keep {shard.name}")

    def introduce(self, shard: Shard) -> None:
        """Gives a worker and its detector the two ends of a new link, once both have started."""
        worker, place = shard.child, shard.detector
        detector, model = place.child, place.model
        if worker is None or detector is None or model is None:
            return
        if not (worker.ready.is_set() and detector.ready.is_set()):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            detector.send("worker", [theirs.fileno()], worker=worker.name)
            worker.send("detector", [ours.fileno()], model=model.to_json(), confidence=place.confidence)

    def _retire(self, shard: Shard) -> None:
        shard.retired = True
        self.shards.remove(shard)
        if shard.activity is not None:
            shard.activity.close()
        if shard.child is not None:
            self._around.task(shard.child.stop(WORKER_STOP_S), f"stop {shard.name}")

    async def _keep(self, shard: Shard, child: Child) -> None:
        await child.ended.wait()
        self.connected.pop(child.name, None)
        self.nats_troubles.pop(child.name, None)
        self._around.metrics.gone(child.name)
        if shard.retired:
            self._around.metrics.forget_process(child.name)
        await self._around.interrupted(child)
        if shard.retired:
            return
        shard.child = None
        self._settle_death(shard, child)
        if not shard.seats:
            self._reconcile()
            return
        shard.restarts = restarts_in_a_row(child, shard.restarts)
        await asyncio.sleep(restart_delay(shard.restarts))
        replacement = await self._spawn(shard)
        if shard.retired:
            await replacement.stop(WORKER_STOP_S)
            return
        self._occupy(shard, replacement)
        log.info("worker replaced", process=shard.name, pid=replacement.pid)
        self._reconcile()

    def _settle_death(self, shard: Shard, child: Child) -> None:
        """What a worker's end means for its streams: one may have caused it, others were leaving anyway."""
        culprit = None
        if shard.activity is not None:
            if child.crashed_thread is not None:
                culprit = shard.activity.of_thread(child.crashed_thread)
            shard.activity.clear()
        shard.stuck.clear()
        if child.exit_code in CRASHES:
            if len(shard.seats) == 1:
                (culprit,) = shard.seats
            if culprit is not None and culprit in shard.seats:
                self._harm(shard.seats[culprit].order.name, "crash", "reading it ended the process")
            elif shard.restarts >= UNNAMED_CRASHES:
                self._divide(shard)
        for number, seat in list(shard.seats.items()):
            if seat.leaving or not self._right(shard, seat):
                del shard.seats[number]
                self._left(seat.order.name)

    def _divide(self, shard: Shard) -> None:
        """Half of the streams go to another worker."""
        other = self._new_shard(shard.detector)
        for number in list(shard.seats)[: len(shard.seats) // 2]:
            other.seats[number] = shard.seats.pop(number)
        log.error("worker crashes; its streams are divided", process=shard.name, moved=other.streams)
        self._around.task(self._open(other), f"open {other.name}")

    # -- streams that do harm

    def _harm(self, stream: str, reason: str, detail: str) -> None:
        pause_s = self._conduct.harmed(stream, time.monotonic())
        log.error("stream harms its worker; it is kept apart", stream=stream, reason=reason, pause_s=pause_s)
        if pause_s:
            self._paused[stream] = time.monotonic() + pause_s
        state = StreamState.FAILED if pause_s else StreamState.BACKOFF
        self._around.told_here(stream, state, {"reason": reason, "detail": detail, "retry_in": pause_s})

    def look_after(self) -> None:
        """Acts on streams that are stuck in a call, and on those whose time apart is over; called every `LOOK_S`."""
        now_s, now_ns = time.monotonic(), time.monotonic_ns()
        self.freshness(now_ns)
        for shard in list(self.shards):
            if shard.activity is None or shard.child is None:
                continue
            overdue = shard.activity.overdue(now_ns)
            for number, seat in list(shard.seats.items()):
                if number in overdue and not seat.leaving:
                    self._stuck(shard, number, seat.order.name)
                elif seat.order.name in self._waiting:
                    self._waiting.discard(seat.order.name)
                    self._around.told_here(seat.order.name, *self._last_told[seat.order.name])
        over = [stream for stream, until in self._paused.items() if until <= now_s]
        for stream in over:
            del self._paused[stream]
        if over or self._conduct.reformed(now_s):
            self._reconcile()

    def _stuck(self, shard: Shard, number: int, stream: str) -> None:
        """Its neighbours go on: the stream moves to a worker of its own, or that worker is ended."""
        detail = "a call into FFmpeg does not return"
        if shard.alone and shard.child is not None:
            self._harm(stream, "hung", detail)
            shard.child.kill()
        elif len(self._conduct) < MOST_ALONE:
            self._harm(stream, "hung", detail)
            self._unseat(shard, number, 0.0)
        elif stream not in self._waiting and stream in self._last_told:
            self._waiting.add(stream)
            self._around.told_here(stream, StreamState.STALLED, {"reason": "hung", "detail": detail})

    # -- what workers say

    def hear(self, child: Child, order: Order) -> None:
        shard = next((shard for shard in self.shards if shard.child is child), None)
        match order.kind:
            case "beat" if "nats" in order.data:
                self.connected[child.name] = order.data["nats"]
                self.nats_troubles[child.name] = order.data["troubles"]
            case "promised":
                self._around.promised()
            case "state" if shard is not None and shard.number_of(order.data["stream"]) is not None:
                stream, details = order.data["stream"], order.data["details"]
                if "session" in details:
                    self._last_sessions[stream] = details["session"]
                self._last_told[stream] = StreamState(order.data["state"]), details
                self._waiting.discard(stream)
                self._around.told(stream, *self._last_told[stream])
            case "removed" if shard is not None:
                stream, number = order.data["stream"], order.data["number"]
                shard.seats.pop(number, None)
                if not order.data["free"]:
                    shard.stuck.add(number)
                self._around.metrics.left(child.name, stream)
                self._left(stream)
                self._reconcile()
            case "freed" if shard is not None:
                shard.stuck.discard(order.data["number"])
            case "unlinked" if shard is not None and shard.detector.ready:
                self.introduce(shard)
            case "ready" if shard is not None:
                self.introduce(shard)
