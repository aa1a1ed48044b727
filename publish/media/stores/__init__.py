"""Where pictures and clips are kept: one file each, loaded when chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from nats.aio.client import Client

from ingest.errors import VigilError
from publish.media.config import MediaConfig
from publish.media.retention import Stored

STORES = {
    "folder": "publish.media.stores.folder:FolderStore",
    "nats": "publish.media.stores.nats_objects:NatsObjectStore",
    "s3": "publish.media.stores.s3:S3Store",
}


class StoreError(VigilError):
    """The store cannot be used: `media.store_away`, `media.store_refused`, `media.store_missing`, `media.disk_full`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MissingError(VigilError):
    """The store has nothing of that key: not yet, not any more, or it never came about."""

    code = "media.missing"


@dataclass(frozen=True, slots=True)
class Site:
    """What a store may want to know: the folder that workers write to, and NATS' client, once there is one."""

    folder: Path
    client: Callable[[], Client | None]


class MediaStore(Protocol):
    """Made by `Store(config, site)`. Methods raise `StoreError` when they cannot; keys have been checked."""

    async def put(self, key: str, file: Path, content_type: str) -> None:
        """Keeps a copy of the file, in place of what it had by that key."""
        ...

    async def get(self, key: str) -> bytes:
        """Raises MissingError."""
        ...

    async def url(self, key: str) -> str | None:
        """Where anyone who has the link can get it for a while; None: only from us.

        Raises:
            MissingError
        """
        ...

    async def delete(self, key: str) -> None:
        """It may be gone already."""
        ...

    async def list(self) -> list[Stored]: ...

    async def close(self) -> None: ...


def new_store(config: MediaConfig, site: Site) -> MediaStore:
    module, name = STORES[config.store].split(":")
    store: MediaStore = getattr(import_module(module), name)(config, site)
    return store
