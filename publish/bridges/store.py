"""What a bridge knows of each stream, in JetStream beside its consumer: both are there, or neither is."""

from __future__ import annotations

from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import BucketNotFoundError, KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from publish.bridges.presence import Presence

BUCKET = "VIGIL_BRIDGES"
MAX_BYTES = 64 << 20


class PresenceStore:
    """Methods raise `publish.trouble.FAILURES`."""

    def __init__(self, client: Client, site: str, bridge: str) -> None:
        self._client = client
        self._prefix = f"{site}.{bridge}"
        self._bucket: KeyValue | None = None

    async def streams(self) -> list[str]:
        """Those that something is kept of, or was."""
        await self._open()
        stream, subjects = f"KV_{BUCKET}", f"$KV.{BUCKET}.{self._prefix}.*"
        found = (await self._client.jetstream().stream_info(stream, subjects_filter=subjects)).state.subjects
        return [subject.rpartition(".")[2] for subject in found or {}]

    async def load(self, stream: str) -> Presence:
        bucket = await self._open()
        try:
            entry = await bucket.get(f"{self._prefix}.{stream}")
            return Presence.model_validate_json(entry.value or b"")
        except (KeyNotFoundError, ValidationError):
            return Presence()

    async def save(self, stream: str, presence: Presence) -> None:
        await (await self._open()).put(f"{self._prefix}.{stream}", presence.model_dump_json().encode())

    async def forget(self, stream: str) -> None:
        await (await self._open()).purge(f"{self._prefix}.{stream}")

    async def _open(self) -> KeyValue:
        if self._bucket is None:
            jetstream = self._client.jetstream()
            try:
                self._bucket = await jetstream.key_value(BUCKET)
            except BucketNotFoundError:
                self._bucket = await jetstream.create_key_value(
                    KeyValueConfig(bucket=BUCKET, history=1, max_bytes=MAX_BYTES)
                )
        return self._bucket
