"""A service's state folder: one service at a time owns it, and says in it where it listens."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.errors import VigilError


class StateError(VigilError):
    """The state folder cannot be used, or belongs to a running service."""

    code = "state.unavailable"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running service listens; ports may be any free ones. No credentials."""

    pid: int
    nats: str
    http: str | None
    prefix: str


class StateFolder:
    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._file = folder / "addresses.json"
        self._lock: int | None = None

    def acquire(self, site: str) -> None:
        """Takes the folder for this process; the kernel gives it back when the process is gone, however it went.

        Raises:
            StateError: it cannot be written, or another service has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"state_dir: cannot use {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise StateError(
                f"another Vigil serves site {site!r} from {self.path}; stop it, or set another `site` or `state_dir`"
            ) from None
        self._lock = lock
        self._file.unlink(missing_ok=True)  # a killed service left it

    def release(self) -> None:
        self._file.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def publish(self, addresses: Addresses) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(asdict(addresses)))
        part.replace(self._file)

    def addresses(self) -> Addresses | None:
        """Where the folder's service listens; None when none is running."""
        try:
            return Addresses(**json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
