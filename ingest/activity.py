"""What a worker's streams are at, told to the supervisor through shared memory, where it stays when the worker hangs.

A call into FFmpeg can hang past any time-out, and can end the process; whoever is left wants to know which stream it
was. And a process that answers is no proof that there are pictures: how fresh they are can be read here at any time.
"""

from __future__ import annotations

import mmap
import os
import time

import numpy as np
from numpy.typing import NDArray

IDLE = 0
NEVER = 0
COLUMNS = 4
ROW_BYTES = 8 * COLUMNS
# A call that has a time-out of its own is given this much longer to come back before it counts as hanging.
MARGIN_S = 3.0
# How often the supervisor looks.
LOOK_S = 0.25


class Activity:
    """Four numbers per stream of a worker: when the call it is in must have returned, which thread reads it, when its
    last frame came and when the last one was analysed.

    Times are in ns of `time.monotonic_ns()`, or `IDLE` and `NEVER`; the thread is named as `threading.get_ident()`
    does. Each is written by one thread and read by another process; 8 aligned bytes are never torn.
    """

    def __init__(self, fd: int, streams: int) -> None:
        """Maps the memory behind `fd`, which is this object's from now on."""
        self.fd = fd
        self._memory = mmap.mmap(fd, streams * ROW_BYTES)
        rows: NDArray[np.int64] = np.frombuffer(self._memory, np.int64).reshape(streams, COLUMNS)
        self._due_ns, self._threads = rows[:, 0], rows[:, 1]
        self._frame_ns, self._analysed_ns = rows[:, 2], rows[:, 3]

    @classmethod
    def create(cls, streams: int) -> Activity:
        fd = os.memfd_create("vigil-activity", os.MFD_CLOEXEC)
        os.ftruncate(fd, streams * ROW_BYTES)
        return cls(fd, streams)

    # -- the reader's side

    def read_by(self, number: int, thread: int) -> None:
        """The stream is read by this thread from now on."""
        self._due_ns[number] = IDLE
        self._threads[number] = thread

    def enter(self, number: int, now_ns: int, within_s: float) -> None:
        """The stream is in a call that returns within `within_s` unless it hangs."""
        self._due_ns[number] = now_ns + int(within_s * 1e9)

    def leave(self, number: int) -> None:
        self._due_ns[number] = IDLE

    def frame(self, number: int, at_ns: int) -> None:
        """The stream has a frame."""
        self._frame_ns[number] = at_ns

    # -- the worker's loop

    def analysed(self, number: int, at_ns: int) -> None:
        """What is in a frame of the stream is known."""
        self._analysed_ns[number] = at_ns

    # -- the supervisor's side

    def begin(self, number: int) -> None:
        """The number is another stream's from now on."""
        self._frame_ns[number] = self._analysed_ns[number] = NEVER

    def fresh(self, number: int) -> tuple[int, int]:
        """When the stream's last frame came and the last one was analysed, each `NEVER` if there was none."""
        return int(self._frame_ns[number]), int(self._analysed_ns[number])

    def overdue(self, now_ns: int) -> list[int]:
        """The numbers of the streams whose call should have returned."""
        due_ns = self._due_ns.copy()  # read twice, a call that returns in between would look as if due at `IDLE`
        return [int(number) for number in np.flatnonzero((due_ns != IDLE) & (due_ns < now_ns))]

    def of_thread(self, thread: int) -> int | None:
        """The number of the stream that the thread reads."""
        found = np.flatnonzero(self._threads == thread)
        return int(found[0]) if len(found) else None

    def clear(self) -> None:
        """The process that wrote here is gone."""
        self._due_ns[:] = IDLE
        self._threads[:] = 0

    def close(self) -> None:
        os.close(self.fd)


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
