"""Moves a bridge's events from its durable consumer to its peer: in order per stream, and none forgotten.

| runs                            | where                                                  |
|---------------------------------|--------------------------------------------------------|
| `Bridge.run`                    | a task: the peer's connection                          |
| `_feed`                         | a task: events from JetStream into lanes               |
| `_renew`                        | a task: tells JetStream that what is held is not lost  |
| `_serve_lane`                   | a task for each stream that has events held            |

An event is acknowledged after its delivery, so that whatever dies, it comes again. Those of one stream wait in a lane,
the first one is tried until it is delivered or given up, and the others wait behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from ingest.redact import redact
from publish.bridges.backoff import delay_s
from publish.bridges.config import BridgeConfig
from publish.bridges.consumer import MAX_HELD, RENEW_S, EventsConsumer
from publish.bridges.contract import Bridge, Delivery, DeliveryError, FinalError, RetryableError, Told
from publish.bridges.metrics import BridgeMetrics
from publish.trouble import FAILURES

log = structlog.get_logger()

RETRY_S = 0.5
# A peer that takes some events and not others changes its state with each.
QUIET_S = 60.0
DRAIN_POLL_S = 0.02
# Delivered events that are remembered, in case that their acknowledgement was lost.
MAX_REMEMBERED = 4 * MAX_HELD


class BridgeState(StrEnum):
    """Where a bridge stands.

    Attributes:
        WAITING: NATS is away, or has no events stream yet.
        DELIVERING: the peer took the last event, or none has come yet.
        RETRYING: the peer could not be reached, or could not take an event; it is tried again.
        REFUSED: the peer does not want an event.
    """

    WAITING = "waiting"
    DELIVERING = "delivering"
    RETRYING = "retrying"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a bridge is doing; `code` and `detail` say why it is not delivering."""

    state: BridgeState
    code: str | None = None
    detail: str | None = None


@dataclass(slots=True)
class _Held:
    """An event that JetStream has given us and waits for."""

    message: Msg  # the latest of its deliveries, which is the one to acknowledge
    sequence: int
    event: Told | None  # None for what is no event
    renewed: float = field(default_factory=time.monotonic)


class Runner:
    """`await run()` until cancelled; it raises what nobody expected of the bridge."""

    def __init__(
        self,
        name: str,
        config: BridgeConfig,
        bridge: Bridge,
        consumer: EventsConsumer,
        metrics: BridgeMetrics,
        tell: Callable[[Standing], None],
    ) -> None:
        self._name = name
        self._config = config
        self._bridge = bridge
        self._consumer = consumer
        self._metrics = metrics
        self._tell = tell
        self._standing = Standing(BridgeState.WAITING)
        self._held: dict[int, _Held] = {}  # by sequence, at most MAX_HELD
        self._lanes: dict[str, deque[_Held]] = {}  # by stream; what is in them is held
        self._remembered: deque[int] = deque(maxlen=MAX_REMEMBERED)
        self._logged: dict[str | None, float] = {}  # when, by code
        self._knew_of_trouble = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(config.concurrency)
        self._rng = random.Random()
        metrics.delivered.labels(name)
        metrics.pending.labels(name)

    @property
    def holds(self) -> int:
        return len(self._held)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            self._start(self._bridge.run(), "peer")
            self._start(self._feed(), "feed")
            self._start(self._renew(), "renew")

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._group.create_task(work, name=f"{self._name} {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, running: asyncio.Task[None]) -> None:
        """Ends the task that awaits `run`, and gives back what is held: it comes first when the bridge runs again.

        `asyncio.wait_for` of Python 3.11, which libraries use, loses a cancellation now and then (gh-86296): so all are
        cancelled until they have ended.
        """
        while not running.done():
            running.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.wait([running], timeout=RETRY_S)
        await self._consumer.close()  # else what goes back would come here at once
        with contextlib.suppress(*FAILURES):
            for held in sorted(self._held.values(), key=lambda held: held.sequence):
                await held.message.nak()

    async def drain(self) -> None:
        """Returns when everything that is in JetStream now has been delivered."""
        while True:
            with contextlib.suppress(*FAILURES):
                if not self._held and await self._consumer.lag() == 0:
                    return
            await asyncio.sleep(DRAIN_POLL_S)

    # -- from JetStream

    async def _feed(self) -> None:
        while True:
            try:
                await self._consumer.ensure()
                if self._standing.state is BridgeState.WAITING:
                    self._stands(Standing(BridgeState.DELIVERING))
                while True:
                    await self._take(await self._arrived())
            except NotFoundError:
                self._stands(Standing(BridgeState.WAITING, "bridge.no_events", "there is no events stream yet"))
            except FAILURES as error:
                words = redact(str(error)) or type(error).__name__
                self._stands(Standing(BridgeState.WAITING, "bridge.nats", f"events cannot be read from NATS: {words}"))
            await asyncio.sleep(RETRY_S)

    async def _arrived(self) -> list[Msg]:
        """The next events, in order."""
        found = await self._consumer.fetch() if self._consumer.whole else []
        if not self._consumer.whole:
            found += await self._consumer.rest({_sequence(one) for one in found}, self._held.keys())
        return sorted(found, key=_sequence)

    async def _take(self, found: list[Msg]) -> None:
        for message in found:
            sequence = _sequence(message)
            if sequence in self._held:
                self._held[sequence].message = message
            elif sequence in self._remembered:
                await message.ack()
            else:
                held = _Held(message, sequence, self._read(message))
                self._held[sequence] = held
                stream = held.event.stream if held.event else ""
                if stream in self._lanes:
                    self._lanes[stream].append(held)
                else:
                    self._lanes[stream] = deque([held])
                    self._start(self._serve_lane(stream), stream)

    def _read(self, message: Msg) -> Told | None:
        try:
            return Told.model_validate_json(message.data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            log.warning("not an event; skipped", bridge=self._name, subject=message.subject, error=first["msg"])
            self._metrics.skipped.labels(self._name, "bridge.unreadable").inc()
            return None

    async def _renew(self) -> None:
        """Else JetStream would take what is held for lost."""
        while True:
            await asyncio.sleep(RENEW_S / 2)
            now = time.monotonic()
            if self._bridge.trouble is not None:
                self._stands(Standing(BridgeState.RETRYING, self._bridge.trouble.code, str(self._bridge.trouble)))
                self._knew_of_trouble = True
            elif self._knew_of_trouble:
                self._stands(Standing(BridgeState.DELIVERING))
                self._knew_of_trouble = False
            with contextlib.suppress(*FAILURES):
                for held in list(self._held.values()):
                    if now - held.renewed >= RENEW_S:
                        held.renewed = now
                        await held.message.in_progress()
                self._metrics.pending.labels(self._name).set(await self._consumer.lag())

    # -- to the peer

    async def _serve_lane(self, stream: str) -> None:
        lane = self._lanes[stream]
        while lane:
            held = lane[0]
            if held.event is not None and self._bridge.wants(held.event):
                await self._deliver(Delivery(held.event, held.sequence, held.message.data, held.message.headers or {}))
            self._remembered.append(held.sequence)
            del self._held[held.sequence]
            lane.popleft()
            with contextlib.suppress(*FAILURES):  # it comes again then, and is known
                await held.message.ack()
        del self._lanes[stream]

    async def _deliver(self, delivery: Delivery) -> None:
        """Returns when the peer has the event, or it is given up."""
        began, failures, refusals = time.monotonic(), 0, 0
        while True:
            try:
                await self._try(delivery)
            except (RetryableError, FinalError) as error:
                failures += 1
                refusals += isinstance(error, FinalError)
                self._failed(error)
                too_long = self._config.retry_for is not None and time.monotonic() - began >= self._config.retry_for
                too_often = self._config.tries is not None and refusals >= self._config.tries
                if too_long or too_often:
                    self._skip(delivery, error)
                    return
                asked_s = error.after_s if isinstance(error, RetryableError) else 0.0
                await asyncio.sleep(max(asked_s, delay_s(failures, self._rng)))
            else:
                self._metrics.delivered.labels(self._name).inc()
                self._stands(Standing(BridgeState.DELIVERING))
                return

    async def _try(self, delivery: Delivery) -> None:
        """Raises RetryableError, FinalError."""
        async with self._slots:
            try:
                await self._bridge.deliver(delivery)
            except DeliveryError:
                raise
            except Exception as error:  # whatever a bridge does, the other streams' events go on
                log.exception("a bridge failed", bridge=self._name)
                raise RetryableError("bridge.failed", type(error).__name__) from None

    def _failed(self, error: DeliveryError) -> None:
        self._metrics.failed.labels(self._name, error.code).inc()
        state = BridgeState.REFUSED if isinstance(error, FinalError) else BridgeState.RETRYING
        self._stands(Standing(state, error.code, str(error)))

    def _skip(self, delivery: Delivery, error: DeliveryError) -> None:
        self._metrics.skipped.labels(self._name, error.code).inc()
        log.error("event not delivered; skipped", bridge=self._name, event_id=delivery.event.event_id, code=error.code,
                  error=str(error))  # fmt: skip

    def _stands(self, standing: Standing) -> None:
        """Takes note of how it is going. Changes are told; the same trouble is logged once in a while."""
        before, self._standing = self._standing, standing
        if (standing.state, standing.code) == (before.state, before.code):
            return
        self._tell(standing)
        now = time.monotonic()
        if now - self._logged.get(standing.code, -QUIET_S) < QUIET_S:
            return
        self._logged[standing.code] = now
        if standing.state is BridgeState.DELIVERING:
            log.info("bridge delivers", bridge=self._name, peer=self._bridge.peer)
        elif standing.code is not None:
            log.warning(f"bridge {standing.state.value}", bridge=self._name, peer=self._bridge.peer, code=standing.code,
                        error=standing.detail)  # fmt: skip


def _sequence(message: Msg) -> int:
    return message.metadata.sequence.stream
