"""Publishes to NATS: frame results are sent and forgotten, events are kept until JetStream acknowledges them.

Runs in one asyncio loop. The frame path only ever appends to bounded queues here; it never waits for NATS.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError
from nats.js.errors import Error as JetStreamError

from ingest.redact import redact
from publish.config import NatsConfig
from publish.jetstream import ensure, wanted_streams
from publish.metrics import PublishMetrics
from publish.schema import FrameResult, StreamStatus, TrackEvent
from publish.subjects import Subjects

log = structlog.get_logger()

MAX_PENDING_EVENTS = 10_000
MAX_PENDING_FRAMES = 512
ACK_TIMEOUT_S = 2.0
RETRY_S = 0.5


class Publisher:
    def __init__(self, config: NatsConfig, url: str, site: str, metrics: PublishMetrics) -> None:
        self._config = config
        self._url = url
        self._site = site
        self.subjects = Subjects(config.prefix or f"vigil.{site}")
        self._metrics = metrics
        self._frames: deque[tuple[str, bytes, dict[str, str]]] = deque()
        self._durable: deque[tuple[str, bytes, dict[str, str], bool]] = deque()
        self._wake_frames = asyncio.Event()
        self._wake_durable = asyncio.Event()
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._told = ""  # why there is no connection, when that was last told

    @property
    def client(self) -> Client | None:
        """The connection, once there has been one; it comes back by itself."""
        return self._client

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    # -- the frame path's side: returns at once

    def frame_result(self, message: FrameResult) -> None:
        """Queues a frame result; when NATS is slow or away the oldest one goes."""
        if len(self._frames) >= MAX_PENDING_FRAMES:
            self._frames.popleft()
            self._metrics.frames_dropped.inc()
        self._frames.append((self.subjects.frames(message.stream), message.model_dump_json().encode(), {}))
        self._wake_frames.set()

    def event(self, message: TrackEvent) -> None:
        """Queues an event until JetStream has acknowledged it; when too many wait, the oldest one goes."""
        headers = {
            "Nats-Msg-Id": message.event_id,
            "ce-specversion": "1.0",
            "ce-id": message.event_id,
            "ce-type": f"vigil.{message.type.value}",
            "ce-source": f"/vigil/{self._site}/{message.stream}",
            "ce-time": message.captured_at.isoformat(),
            "content-type": "application/json",
        }
        self._metrics.events.labels(message.stream, message.type.value).inc()
        subject = self.subjects.event(message.stream, message.type.value)
        self._queue(subject, message.model_dump_json().encode(), headers, is_event=True)

    def status(self, message: StreamStatus) -> None:
        self._queue(self.subjects.status(message.stream), message.model_dump_json().encode(), {}, is_event=False)

    def _queue(self, subject: str, body: bytes, headers: dict[str, str], is_event: bool) -> None:
        if len(self._durable) >= MAX_PENDING_EVENTS and self._durable.popleft()[3]:
            self._metrics.events_dropped.inc()
        self._durable.append((subject, body, headers, is_event))
        self._metrics.pending.set(len(self._durable))
        self._wake_durable.set()

    # -- the loop's side

    def start(self) -> None:
        """Starts connecting and sending; must be called in the loop."""
        self._task = asyncio.create_task(self._run(), name="publisher")

    async def close(self, deadline_s: float) -> int:
        """Sends what is waiting for at most `deadline_s`; returns how many events could not be delivered."""
        ends = time.monotonic() + deadline_s
        while (self._durable or self._frames) and self.connected and time.monotonic() < ends:
            await asyncio.sleep(0.02)
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._client is not None and not self._client.is_closed:
            with contextlib.suppress(TimeoutError, nats.errors.Error, OSError):
                await asyncio.wait_for(self._client.close(), max(0.1, ends - time.monotonic()))
        return sum(is_event for *_, is_event in self._durable)

    @property
    def failure(self) -> BaseException | None:
        """What ended the sending, which nothing should; None while all is well."""
        task = self._task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    async def _run(self) -> None:
        self._client = await self._connect()
        self._metrics.connected.set(1)
        log.info("connected to NATS", url=redact(self._url))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_frames(self._client))
            tasks.create_task(self._send_durable(self._client))

    async def _connect(self) -> Client:
        options: dict[str, Any] = {}
        if self._config.credentials:
            options["user_credentials"] = str(self._config.credentials)
        while True:
            try:
                return await nats.connect(
                    servers=self._url.split(","),
                    name=f"vigil {self._site}",
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RETRY_S,
                    allow_reconnect=True,
                    connect_timeout=2,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    **options,
                )
            except (OSError, nats.errors.Error, TimeoutError) as error:
                await self._on_error(error)
                await asyncio.sleep(RETRY_S)

    async def _on_error(self, error: Exception) -> None:
        """Called for every attempt, of which each new reason is told once."""
        words = redact(str(error)) or type(error).__name__
        if self.connected:
            log.debug("NATS", error=words)
        elif words != self._told:
            self._told = words
            log.warning("cannot connect to NATS; trying again", url=redact(self._url), error=words)

    async def _on_disconnected(self) -> None:
        self._metrics.connected.set(0)
        if not self._closing:
            log.warning("NATS is away; events wait, frame results are dropped", url=redact(self._url))

    async def _on_reconnected(self) -> None:
        self._told = ""
        self._metrics.connected.set(1)
        log.info("NATS is back", url=redact(self._url))

    async def _ensure_streams(self, jetstream: JetStreamContext) -> None:
        for wanted in wanted_streams(self._config, self.subjects.prefix, self._site):
            told = ""
            while True:
                try:
                    await ensure(jetstream, wanted)
                    break
                except (nats.errors.Error, JetStreamError, OSError, TimeoutError) as error:
                    if str(error) != told:
                        told = str(error)
                        log.warning("cannot set up JetStream stream; trying again", stream=wanted.name, error=told)
                    await asyncio.sleep(RETRY_S)

    async def _send_frames(self, client: Client) -> None:
        while True:
            await self._wake_frames.wait()
            self._wake_frames.clear()
            while self._frames:
                subject, body, headers = self._frames.popleft()
                try:
                    if not client.is_connected:
                        raise nats.errors.ConnectionClosedError
                    await client.publish(subject, body, headers=headers or None)
                except (nats.errors.Error, OSError):
                    self._metrics.frames_dropped.inc()

    async def _send_durable(self, client: Client) -> None:
        jetstream = client.jetstream()
        await self._ensure_streams(jetstream)
        told = ""
        while True:
            await self._wake_durable.wait()
            self._wake_durable.clear()
            while self._durable:
                subject, body, headers, is_event = item = self._durable[0]
                try:
                    await jetstream.publish(subject, body, timeout=ACK_TIMEOUT_S, headers=headers or None)
                except (nats.errors.Error, APIError, JetStreamError, OSError, TimeoutError) as error:
                    words = redact(str(error))
                    if words != told:
                        log.warning("event not acknowledged; trying again", subject=subject, error=words)
                        told = words
                    await asyncio.sleep(RETRY_S)
                    continue
                told = ""
                # A full queue may have dropped this very one while it was being sent.
                if self._durable and self._durable[0] is item:
                    self._durable.popleft()
                self._metrics.pending.set(len(self._durable))
                if is_event:
                    self._metrics.acked.inc()
