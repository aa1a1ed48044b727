"""The folder into which workers write: whole files only, and none when the disk is nearly full."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from ingest.errors import VigilError
from publish.media.keys import checked

PART = ".part"
FULL = (errno.ENOSPC, errno.EDQUOT)


class MediaWriteError(VigilError):
    """A picture or clip could not be written: `media.disk_full`, or `media.not_writable`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class MediaFolder:
    """Several processes may write to one folder. A file is there under its key when it is whole, and not before."""

    def __init__(self, path: Path, least_free_bytes: int) -> None:
        self.path = path
        self._least_free_bytes = least_free_bytes
        self._numbers = itertools.count()

    def write(self, key: str, data: bytes) -> None:
        """Raises MediaWriteError."""
        self.fill(key, lambda file: file.write_bytes(data))

    def fill(self, key: str, make: Callable[[Path], object]) -> None:
        """Has `make` write a file, and gives it its name when that is done.

        Raises:
            MediaWriteError
        """
        whole = self.path / checked(key)
        part = whole.parent / f".{os.getpid()}-{next(self._numbers)}{PART}"
        try:
            whole.parent.mkdir(parents=True, exist_ok=True)
            self._look_for_room(whole.parent)
            try:
                make(part)
                part.replace(whole)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            if error.errno in FULL:
                raise MediaWriteError("media.disk_full", f"{self.path}: {error.strerror}; {_MEND}") from None
            raise MediaWriteError("media.not_writable", f"{self.path}: {error.strerror or error}") from None

    def _look_for_room(self, folder: Path) -> None:
        disk = os.statvfs(folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._least_free_bytes:
            raise MediaWriteError(
                "media.disk_full",
                f"{self.path}: {free >> 20} MiB are free, and media.least_free wants {self._least_free_bytes >> 20}; "
                f"{_MEND}",
            )


_MEND = "make room, lower media.max_bytes, or keep media elsewhere (media.folder)"
