"""Which calls into FFmpeg a worker's streams are in, told to the supervisor through shared memory.

Such a call can hang past any time-out, and can end the process; whoever is left wants to know which stream it was.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

IDLE = 0
# A call that has a time-out of its own is given this much longer to come back before it counts as hanging.
MARGIN_S = 3.0


class Activity:
    """One row per stream number: when the call it is in must have returned, in ns of `time.monotonic_ns()`, or `IDLE`.

    A row is written by its stream's reader alone and read by another process; 8 aligned bytes are never torn.
    """

    def __init__(self, fd: int, streams: int) -> None:
        """Maps the memory behind `fd`; the descriptor stays the caller's."""
        self.fd = fd
        self._memory = mmap.mmap(fd, streams * 8)
        self._due_ns: NDArray[np.int64] = np.frombuffer(self._memory, np.int64)

    @classmethod
    def create(cls, streams: int) -> Activity:
        fd = os.memfd_create("vigil-activity", os.MFD_CLOEXEC)
        os.ftruncate(fd, streams * 8)
        return cls(fd, streams)

    @contextmanager
    def calling(self, number: int, now_ns: int, within_s: float) -> Iterator[None]:
        """The stream is in a call that returns within `within_s` unless it hangs."""
        self.enter(number, now_ns, within_s)
        try:
            yield
        finally:
            self.leave(number)

    def enter(self, number: int, now_ns: int, within_s: float) -> None:
        self._due_ns[number] = now_ns + int(within_s * 1e9)

    def leave(self, number: int) -> None:
        self._due_ns[number] = IDLE

    def inside(self) -> list[int]:
        """The numbers of the streams that are in a call."""
        return [int(number) for number in np.flatnonzero(self._due_ns)]

    def overdue(self, now_ns: int) -> list[int]:
        """The numbers of the streams whose call should have returned."""
        return [int(number) for number in np.flatnonzero((self._due_ns > 0) & (self._due_ns < now_ns))]


class Calls:
    """The calls of one stream, for sources to tell of; without an activity nobody is told."""

    def __init__(self, activity: Activity | None = None, number: int = 0) -> None:
        self._activity = activity
        self._number = number

    def enter(self, timeout_s: float) -> None:
        """A call begins that should end by itself within `timeout_s`; replaces the one before."""
        if self._activity is not None:
            self._activity.enter(self._number, time.monotonic_ns(), timeout_s + MARGIN_S)

    def leave(self) -> None:
        if self._activity is not None:
            self._activity.leave(self._number)
