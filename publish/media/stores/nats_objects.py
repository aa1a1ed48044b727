"""Pictures and clips in a bucket of NATS' object store."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import nats.errors
from nats.js.api import ObjectMeta
from nats.js.errors import APIError, BucketNotFoundError, NotFoundError, ObjectNotFoundError
from nats.js.errors import Error as JetStreamError
from nats.js.object_store import ObjectStore

from ingest.redact import redact
from publish.media.config import MediaConfig
from publish.media.keys import checked
from publish.media.retention import Stored
from publish.media.stores import MissingError, Site, StoreError

# For one object, or the list of all.
PATIENCE_S = 60.0
# JetStream's codes for a stream or a server that is full.
FULL = {10023, 10047, 10077}


class NatsObjectStore:
    """On the supervisor's connection, which comes back by itself."""

    def __init__(self, config: MediaConfig, site: Site) -> None:
        self._bucket_name = config.nats.bucket
        self._max_age_s = config.max_age
        self._client = site.client
        self._bucket: ObjectStore | None = None

    async def put(self, key: str, file: Path, content_type: str) -> None:
        with file.open("rb") as data:
            async with self._working() as bucket:
                await bucket.put(checked(key), data, ObjectMeta(headers={"content-type": content_type}))

    async def get(self, key: str) -> bytes:
        async with self._working() as bucket:
            data = io.BytesIO()
            await bucket.get(checked(key), writeinto=data)
            return data.getvalue()

    async def url(self, key: str) -> None:
        async with self._working() as bucket:
            await bucket.get_info(checked(key))

    async def delete(self, key: str) -> None:
        with suppress(MissingError):
            async with self._working() as bucket:
                await bucket.delete(checked(key))

    async def list(self) -> list[Stored]:
        async with self._working() as bucket:
            try:
                objects = await bucket.list(ignore_deletes=True)
            except NotFoundError:
                return []  # there are none
            return [
                Stored(one.name, one.size or 0, datetime.fromisoformat(one.mtime).timestamp())
                for one in objects
                if one.name is not None and one.mtime is not None and not one.deleted
            ]

    async def close(self) -> None:
        self._bucket = None

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[ObjectStore]:
        """The bucket, with what goes wrong told in our words."""
        client = self._client()
        if client is None or not client.is_connected:
            raise StoreError("media.store_away", "not connected to NATS")
        try:
            async with asyncio.timeout(PATIENCE_S):
                if self._bucket is None:
                    self._bucket = await self._opened()
                yield self._bucket
        except ObjectNotFoundError:
            raise MissingError(f"the bucket {self._bucket_name} has no such object") from None
        except (nats.errors.Error, JetStreamError, APIError, OSError, TimeoutError) as error:
            self._bucket = None  # it may be gone, and is made again
            full = isinstance(error, APIError) and error.err_code in FULL
            refused = isinstance(error, APIError) and not full
            code = "media.disk_full" if full else "media.store_refused" if refused else "media.store_away"
            words = redact(str(error)) or type(error).__name__
            raise StoreError(code, f"media.nats.bucket {self._bucket_name}: {words}") from None

    async def _opened(self) -> ObjectStore:
        client = self._client()
        assert client is not None, "asked for with a connection"
        jetstream = client.jetstream()
        try:
            return await jetstream.object_store(self._bucket_name)
        except BucketNotFoundError:
            # With an age of its own it forgets, too, which objects there were.
            return await jetstream.create_object_store(self._bucket_name, ttl=self._max_age_s)
