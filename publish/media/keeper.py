"""Keeps what workers have made: takes it to the store, removes what is too old or too much, and hands it out.

There is one keeper, in the supervisor, so that nobody removes what another counts on. Its tasks:

| runs              | where                                                                   |
|-------------------|-------------------------------------------------------------------------|
| `Keeper.run`      | a task in the supervisor's loop; what blocks is done in a pool's threads |
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import structlog

from ingest.redact import redact
from publish.media.config import MediaConfig
from publish.media.keys import checked, content_type
from publish.media.metrics import KeepingMetrics
from publish.media.retention import expired
from publish.media.stores import MediaStore, MissingError, Site, StoreError, new_store
from publish.media.stores.folder import found

log = structlog.get_logger()

LOOK_S = 0.5
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
# Between looks at all that the store has: at least so long, and so many times as long as such a look takes.
SWEEP_S, SWEEP_TIMES = 30.0, 50.0


class Keeper:
    """`failure` is why the store cannot be used at present, as a code and in words."""

    def __init__(self, config: MediaConfig, site: Site, metrics: KeepingMetrics) -> None:
        self._config = config
        self._folder = site.folder
        self._metrics = metrics
        self.store: MediaStore = new_store(config, site)
        self.failure: tuple[str, str] | None = None
        self._sweep_at = 0.0
        self._files = self._bytes = self._backlog = 0

    async def run(self) -> None:
        """Until cancelled."""
        failed = 0
        try:
            while True:
                try:
                    if self._config.store != "folder":
                        await self._take_to_store()
                    if time.monotonic() >= self._sweep_at:
                        await self._sweep()
                except (StoreError, OSError) as error:
                    self._fails(error if isinstance(error, StoreError) else _disk_refuses(error))
                    await asyncio.sleep(RETRY_S[min(failed, len(RETRY_S) - 1)])
                    failed += 1
                else:
                    self._works()
                    failed = 0
                    await asyncio.sleep(LOOK_S)
        finally:
            await self.store.close()

    def told(self) -> dict[str, Any]:
        """What is kept and how that goes, for the API."""
        failure = None if self.failure is None else {"code": self.failure[0], "detail": self.failure[1]}
        return {
            "store": self._config.store, "files": self._files, "bytes": self._bytes, "backlog_bytes": self._backlog,
            "max_bytes": self._config.max_bytes, "max_age": self._config.max_age, "failure": failure,
        }  # fmt: skip

    # -- handing out

    def here(self, key: str) -> Path | None:
        """The file of a key, if it is on this machine's disk.

        Raises:
            MediaKeyError: that is no key.
        """
        path = self._folder / checked(key)
        inside = path.resolve().is_relative_to(self._folder.resolve())
        return path if inside and path.is_file() else None

    # -- keeping

    async def _take_to_store(self) -> None:
        """Takes what waits on disk to the store, the oldest first; what is more than may wait goes."""
        waiting = await asyncio.to_thread(found, self._folder)
        self._backlog = sum(one.bytes for one in waiting)
        for one, _ in expired(waiting, time.time(), float("inf"), self._config.backlog):
            (self._folder / one.key).unlink(missing_ok=True)
            self._backlog -= one.bytes
            self._metrics.uploads.labels("given_up").inc()
            waiting.remove(one)
        self._metrics.backlog.set(self._backlog)
        for one in sorted(waiting, key=lambda one: one.at_s):
            file = self._folder / one.key
            try:
                await self.store.put(one.key, file, content_type(one.key))
            except StoreError:
                self._metrics.uploads.labels("failed").inc()
                raise
            except (MissingError, FileNotFoundError):
                continue  # somebody has taken it away
            file.unlink(missing_ok=True)
            self._backlog -= one.bytes
            self._metrics.backlog.set(self._backlog)
            self._metrics.uploads.labels("stored").inc()

    async def _sweep(self) -> None:
        began = time.monotonic()
        stored = await self.store.list()
        self._files, self._bytes = len(stored), sum(one.bytes for one in stored)
        for one, reason in expired(stored, time.time(), self._config.max_age, self._config.max_bytes):
            await self.store.delete(one.key)
            self._metrics.removed.labels(reason).inc()
            self._files, self._bytes = self._files - 1, self._bytes - one.bytes
        self._metrics.files.set(self._files)
        self._metrics.stored.set(self._bytes)
        now = time.monotonic()
        self._sweep_at = now + max(SWEEP_S, SWEEP_TIMES * (now - began))

    def _fails(self, error: StoreError) -> None:
        words = redact(str(error))
        if self.failure is None or self.failure[0] != error.code:
            log.error(
                "media store cannot be used; trying again", store=self._config.store, code=error.code, error=words
            )
        self.failure = error.code, words
        self._metrics.failing.set(1)

    def _works(self) -> None:
        if self.failure is not None:
            log.info("media store can be used again", store=self._config.store)
        self.failure = None
        self._metrics.failing.set(0)


def _disk_refuses(error: OSError) -> StoreError:
    return StoreError("media.not_writable", f"{error.filename or 'media.folder'}: {error.strerror or error}")
