"""Sends frame results: at once or never. The frame path only appends to a bounded queue here."""

from __future__ import annotations

import asyncio
from collections import deque

import nats.errors

from publish.connection import Connection
from publish.metrics import PublishMetrics

MAX_PENDING = 512


class FrameSender:
    """Lives in one asyncio loop; `run` is a task in it."""

    def __init__(self, connection: Connection, metrics: PublishMetrics) -> None:
        self._connection = connection
        self._metrics = metrics
        self._pending: deque[tuple[str, bytes, dict[str, str]]] = deque()
        self._wake = asyncio.Event()

    def add(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        """Queues a message; when NATS is slow or away the oldest one goes."""
        if len(self._pending) >= MAX_PENDING:
            self._pending.popleft()
            self._metrics.frames_dropped.inc()
        self._pending.append((subject, body, headers))
        self._wake.set()

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def run(self) -> None:
        client = await self._connection.open()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                subject, body, headers = self._pending.popleft()
                try:
                    if not client.is_connected:
                        raise nats.errors.ConnectionClosedError
                    await client.publish(subject, body, headers=headers)
                except (nats.errors.Error, OSError):
                    self._metrics.frames_dropped.inc()
