"""Keeps the outbox within its bounds, and tells what is in it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable

import structlog

from publish.config import OutboxConfig
from publish.metrics import OutboxMetrics
from publish.outbox import Contents, Outbox
from publish.trouble import Code, Trouble, Troubles

log = structlog.get_logger()

LOOK_S = 1.0
TRIM_S = 10.0
POLL_S = 0.02


class Bounds:
    """Lives in one asyncio loop; `run` is a task in it. There is one for an outbox."""

    def __init__(self, outbox: Outbox, config: OutboxConfig, metrics: OutboxMetrics, troubles: Troubles) -> None:
        self._outbox = outbox
        self._config = config
        self._metrics = metrics
        self._trimmed_at = time.monotonic()
        self._troubles = troubles

    async def run(self) -> None:
        while True:
            try:
                contents = await self._look()
                if contents.bytes > self._config.max_bytes or time.monotonic() - self._trimmed_at > TRIM_S:
                    await self._trim()
            except sqlite3.Error as error:
                log.debug("the outbox cannot be looked at", error=str(error))  # who writes to it tells
            await asyncio.sleep(LOOK_S)

    async def emptied(self, timeout_s: float, hopeful: Callable[[], bool]) -> int:
        """Waits until nothing is left, for so long, and while there is hope; how much is left. `run` must not run."""
        ends = time.monotonic() + timeout_s
        while (left := (await self._look()).messages) and hopeful() and time.monotonic() < ends:
            await asyncio.sleep(POLL_S)
        return left

    async def _look(self) -> Contents:
        contents = await asyncio.to_thread(self._outbox.contents)
        self._metrics.pending.set(contents.messages)
        self._metrics.bytes.set(contents.bytes)
        self._metrics.oldest.set(contents.oldest_s)
        if not contents.messages:
            self._troubles.over(Code.OUTBOX_FULL)
        return contents

    async def _trim(self) -> None:
        now = time.monotonic()
        passed_s, self._trimmed_at = now - self._trimmed_at, now
        dropped = await asyncio.to_thread(self._outbox.trim, passed_s, self._config.max_age, self._config.max_bytes)
        self._metrics.dropped.labels("outbox_full").inc(dropped)
        if dropped:
            self._troubles.begin(Trouble(
                Code.OUTBOX_FULL, "the outbox is full: its oldest events are dropped",
                "see why NATS is away, or raise `outbox.max_bytes` or `outbox.max_age`",
            ))  # fmt: skip
