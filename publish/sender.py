"""Sends what is in the outbox to JetStream, in order, and lets go of what it has acknowledged.

A message may be sent again when its acknowledgement was lost: JetStream knows it again by its `Nats-Msg-Id`. It does so
for some minutes only; so what may have been stored before a connection broke is looked up in the stream, and not sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from ingest.redact import redact
from publish.config import NatsConfig
from publish.connection import RETRY_S, Connection
from publish.jetstream import Streams
from publish.metrics import OutboxMetrics
from publish.outbox import Outbox, Waiting
from publish.subjects import EVENTS_STREAM, Subjects
from publish.trouble import FAILURES

log = structlog.get_logger()

# So many messages may wait for their acknowledgement.
WINDOW = 1024
ACK_TIMEOUT_S = 5.0
# Acknowledged messages leave the outbox together, at most so long after.
SETTLE_S = 0.02
# How often the outbox is looked at although nobody has told of anything new: who writes may be killed before it tells.
LOOK_S = 0.5
POLL_S = 0.02
# JetStream's error code for a message that it will never take: larger than the stream allows.
TOO_LARGE = 10054


class NotAcknowledgedError(Exception):
    """Something that was sent was not acknowledged."""


TROUBLE = (NotAcknowledgedError, sqlite3.Error, *FAILURES)


class Sender:
    """Lives in one asyncio loop; `run` is a task in it. There is one for an outbox."""

    def __init__(
        self, outbox: Outbox, connection: Connection, config: NatsConfig, site: str, subjects: Subjects,
        metrics: OutboxMetrics,
    ) -> None:  # fmt: skip
        self._outbox = outbox
        self._connection = connection
        self._config = config
        self._site = site
        self._subjects = subjects
        self._metrics = metrics
        self._changed = asyncio.Event()
        self._more = True  # there may be something in the outbox that has not been sent
        self._flight: dict[int, tuple[Waiting, float]] = {}  # sent, and when
        self._settled: list[tuple[int, bool]] = []  # those that may go, and whether as acknowledged events
        self._numbers: dict[int, int] = {}  # of acknowledged events in the stream, while older ones are in flight
        self._sequence = 0
        self._refusal: str | None = None
        self._told = ""

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._more = True
        self._changed.set()

    async def run(self) -> None:
        """Sends until cancelled, whatever happens to the connection."""
        client = await self._connection.open()
        streams = Streams(client, self._config, self._subjects.prefix, self._site, self._connection.troubles)
        watching = asyncio.create_task(streams.watch(), name="JetStream streams")
        try:
            while True:
                try:
                    await self._send(client, streams)
                except TROUBLE as error:
                    words = redact(str(error)) or type(error).__name__
                    if words != self._told and client.is_connected:
                        self._told = words
                        log.warning("events wait: they cannot be delivered; trying again", error=words)
                await asyncio.sleep(RETRY_S)
        finally:
            watching.cancel()

    async def _send(self, client: Client, streams: Streams) -> None:
        """Sends until something is not acknowledged; then everything that is still in the outbox is sent anew."""
        while not client.is_connected:
            await asyncio.sleep(POLL_S)
        reconnects = client.stats["reconnects"]
        jetstream = client.jetstream()
        await streams.prepare()
        await self._forget_stored(jetstream)
        self._flight, self._settled, self._numbers, self._refusal = {}, [], {}, None
        inbox = client.new_inbox()
        answers = await client.subscribe(f"{inbox}.*", cb=self._answered)
        try:
            last, settled, looked = 0, 0.0, -LOOK_S
            while True:
                self._changed.clear()
                room = WINDOW - len(self._flight)
                if room and (self._more or time.monotonic() - looked >= LOOK_S):
                    looked, self._more = time.monotonic(), False
                    found = await asyncio.to_thread(self._outbox.after, last, room)
                    self._more |= len(found) == room
                    for message in found:
                        last = message.id
                        await self._publish(client, message, inbox)
                now = time.monotonic()
                if self._settled and (now - settled > SETTLE_S or not self._flight):
                    settled = now
                    await self._settle()
                self._check(client, reconnects, now)
                if not (self._more and len(self._flight) < WINDOW):
                    # Not wait_for, which in Python 3.11 forgets that it was cancelled if the event comes with that.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SETTLE_S if self._settled else LOOK_S):
                            await self._changed.wait()
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):
                await answers.unsubscribe()

    async def _publish(self, client: Client, message: Waiting, inbox: str) -> None:
        try:
            await client.publish(message.subject, message.body, reply=f"{inbox}.{message.id}", headers=message.headers)
        except nats.errors.MaxPayloadError:
            self._give_up(message, "larger than the NATS server's `max_payload`")
        else:
            self._flight[message.id] = message, time.monotonic()

    def _give_up(self, message: Waiting, reason: str) -> None:
        """What no server will ever take must not hold up the rest."""
        log.error("event refused by NATS for good; it is dropped", subject=message.subject, code="event.refused",
                  reason=reason, size=len(message.body))  # fmt: skip
        self._metrics.dropped.labels("refused").inc()
        self._settled.append((message.id, False))

    async def _answered(self, answer: Msg) -> None:
        key = int(answer.subject.rpartition(".")[2])
        sent = self._flight.get(key)
        if sent is None:
            return
        told: dict[str, Any] = json.loads(answer.data) if answer.data else {}
        if not answer.data:
            self._refusal = "JetStream is not there, or has no stream for the subject"
        elif (error := told.get("error")) is None:
            del self._flight[key]
            self._settled.append((key, sent[0].is_event))
            if sent[0].is_event:
                self._numbers[key] = told["seq"]
        elif error.get("err_code") == TOO_LARGE:
            del self._flight[key]
            self._give_up(sent[0], error.get("description", ""))
        else:
            self._refusal = error.get("description", "refused")
        self._changed.set()

    def _check(self, client: Client, reconnects: int, now: float) -> None:
        if self._refusal is not None:
            raise NotAcknowledgedError(self._refusal)
        if client.stats["reconnects"] != reconnects or not client.is_connected:
            raise NotAcknowledgedError("the connection broke")
        oldest = next(iter(self._flight.values()), None)
        if oldest is not None and now - oldest[1] > ACK_TIMEOUT_S:
            raise NotAcknowledgedError(f"no acknowledgement within {ACK_TIMEOUT_S:g} s")

    async def _settle(self) -> None:
        """What was acknowledged leaves the outbox."""
        settled, self._settled = self._settled, []
        oldest = next(iter(self._flight), None)
        for key in [key for key in self._numbers if oldest is None or key < oldest]:
            self._sequence = max(self._sequence, self._numbers.pop(key))
        await asyncio.to_thread(self._outbox.delivered, [key for key, _ in settled], self._sequence)
        self._metrics.acked.inc(sum(counts for _, counts in settled))
        if self._told:
            self._told = ""
            log.info("JetStream takes events again")

    async def _forget_stored(self, jetstream: JetStreamContext) -> None:
        """Lets go of events that are in the stream already, though we have not seen that acknowledged."""
        last = (await jetstream.stream_info(EVENTS_STREAM)).state.last_seq
        known = await asyncio.to_thread(self._outbox.sequence)
        self._sequence = last if known is None else known if known <= last else 0  # it is another stream, made since
        # Only so many can have been sent.
        oldest = await asyncio.to_thread(self._outbox.after, 0, 2 * WINDOW)
        ids = {message.headers["Nats-Msg-Id"]: message.id for message in oldest if message.is_event}
        stored = []
        with contextlib.suppress(NotFoundError):
            while self._sequence < last:
                found = await jetstream.get_msg(
                    EVENTS_STREAM, self._sequence + 1, subject=self._subjects.all_events, next=True
                )
                assert found.seq is not None
                self._sequence = found.seq
                if (key := ids.get((found.headers or {}).get("Nats-Msg-Id", ""))) is not None:
                    stored.append(key)
        await asyncio.to_thread(self._outbox.delivered, stored, self._sequence)
        self._metrics.acked.inc(len(stored))
