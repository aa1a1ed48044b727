"""Pictures and clips on this machine's disk, in the very folder that workers write to."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from publish.media.config import MediaConfig
from publish.media.folder import FULL, PART
from publish.media.keys import checked, is_key
from publish.media.retention import Stored
from publish.media.stores import MissingError, Site, StoreError

Result = TypeVar("Result")

# A file that a worker is still writing after so long is none's any more: the worker was killed.
ABANDONED_S = 600.0
# A day's folder may be written to again for so long.
DAYS_S = 2 * 86400.0


class FolderStore:
    """Its work on the disk is done in threads."""

    def __init__(self, config: MediaConfig, site: Site) -> None:
        del config
        self._folder = site.folder

    async def put(self, key: str, file: Path, content_type: str) -> None:
        del content_type
        await _on_disk(_copy, file, self._folder / checked(key))

    async def get(self, key: str) -> bytes:
        return await _on_disk((self._folder / checked(key)).read_bytes)

    async def url(self, key: str) -> None:
        if not (self._folder / checked(key)).is_file():
            raise MissingError(f"there is no {key}")

    async def delete(self, key: str) -> None:
        with suppress(MissingError):
            await _on_disk((self._folder / checked(key)).unlink)

    async def list(self) -> list[Stored]:
        return await _on_disk(found, self._folder)

    async def close(self) -> None:
        pass


async def _on_disk(work: Callable[..., Result], *args: Path) -> Result:
    try:
        return await asyncio.to_thread(work, *args)
    except FileNotFoundError as error:
        raise MissingError(f"there is no {error.filename}") from None
    except OSError as error:
        code = "media.disk_full" if error.errno in FULL else "media.store_refused"
        raise StoreError(code, f"{error.filename or 'media.folder'}: {error.strerror}") from None


def _copy(file: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.parent / f".{os.getpid()}-put{PART}"
    shutil.copyfile(file, part)
    part.replace(to)


def found(folder: Path) -> list[Stored]:
    """The whole files of a folder; what killed workers have left of others is removed, and so are empty old days."""
    files: list[Stored] = []
    now_s = time.time()
    for stream in _entries(folder):
        for day in _entries(Path(stream)) if stream.is_dir(follow_symlinks=False) else ():
            if not day.is_dir(follow_symlinks=False):
                continue
            entries = _entries(Path(day))
            for entry in entries:
                with suppress(FileNotFoundError):
                    told = entry.stat(follow_symlinks=False)
                    key = f"{stream.name}/{day.name}/{entry.name}"
                    if is_key(key) and entry.is_file(follow_symlinks=False):
                        files.append(Stored(key, told.st_size, told.st_mtime))
                    elif entry.name.endswith(PART) and now_s - told.st_mtime > ABANDONED_S:
                        os.unlink(entry)
            if not entries and now_s - day.stat().st_mtime > DAYS_S:
                with suppress(OSError):
                    os.rmdir(day)
    return files


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
