"""Memory that Triton shares with us, so that pictures and outputs do not go through its socket.

A region has a name in /dev/shm only until the server has mapped it: nothing is left there when a process is killed.
"""

from __future__ import annotations

import itertools
import mmap
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path("/dev/shm")  # noqa: S108  POSIX shared memory on Linux
_numbers = itertools.count()


class Region:
    """Bytes that this process and the server see."""

    def __init__(self, size: int, register: Callable[[str, str, int], None]) -> None:
        """`register(name, key, bytes)` has the server map the file `key` of /dev/shm."""
        self.name = f"vigil-{_host()}-{os.getpid()}-{next(_numbers)}"
        self.size = size
        file = FOLDER / self.name
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            os.ftruncate(descriptor, size)
            self._memory = mmap.mmap(descriptor, size)
            register(self.name, f"/{self.name}", size)
        finally:
            os.close(descriptor)
            file.unlink()

    def array(self, dtype: Any, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
        """A view; the server changes it during a request."""
        return np.frombuffer(self._memory, dtype, int(np.prod(shape)), offset).reshape(shape)


def is_abandoned(name: str) -> bool:
    """Whether a region belongs to a process of this host that is no more.

    One that merely looks so, from another PID namespace, is lost to its owner, who then makes a new one.
    """
    match = re.fullmatch(rf"vigil-{re.escape(_host())}-(\d+)-\d+", name)
    return match is not None and not Path(f"/proc/{match[1]}").exists()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())
