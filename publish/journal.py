"""Writes a process's durable messages to the outbox, beside its loop: many in one transaction."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

from publish.metrics import OutboxMetrics
from publish.outbox import Durable, Outbox
from publish.trouble import Code, Trouble

# What the outbox does not take is kept in memory, up to so many.
MOST_WAITING = 10_000
# Transactions begin at least so far apart: a lone message has its own at once, of thousands many share one.
APART_S = 0.01
RETRY_S = 0.5


class Journal:
    """Takes messages in order from any thread, and never makes one wait.

    `run` is for a thread of its own, and ends after `close`.
    """

    def __init__(
        self, outbox: Outbox, metrics: OutboxMetrics, written: Callable[[], object],
        fails: Callable[[Trouble | None], object],
    ) -> None:  # fmt: skip
        """Both are called in that thread: `written` when there is something new in the outbox, `fails` when it cannot
        be written, and with None when it can be again."""
        self._outbox = outbox
        self._metrics = metrics
        self._written = written
        self._fails = fails
        self._waiting: list[Durable] = []
        self._changed = threading.Condition()
        self._closing = False
        self._writing = 0
        self._failing = False

    def add(self, message: Durable) -> None:
        """Takes a message; when the outbox has taken none for so long that too many wait, the oldest one goes."""
        with self._changed:
            if len(self._waiting) + self._writing >= MOST_WAITING:
                self._drop()
            self._waiting.append(message)
            self._changed.notify()

    def _drop(self) -> None:
        if self._waiting and self._waiting.pop(0).is_event:
            self._metrics.dropped.labels("outbox_failing").inc()

    @property
    def waiting(self) -> int:
        """How many messages are not on disk yet."""
        return len(self._waiting) + self._writing

    def close(self, timeout_s: float) -> int:
        """No more messages come: writes what waits, for so long at most; how many could not be."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.waiting, timeout_s)
            return self.waiting

    def flush(self, timeout_s: float) -> bool:
        """Returns once what was added is on disk, or after that time; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.waiting, timeout_s)

    def run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                messages, self._waiting = self._waiting, []
                self._writing = len(messages)
            began = time.monotonic()
            self._write(messages)
            with self._changed:
                self._writing = 0
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closing, began + APART_S - time.monotonic())

    def _write(self, messages: list[Durable]) -> None:
        while True:
            try:
                self._outbox.append(messages)
            except sqlite3.Error as error:
                if not self._failing:
                    self._failing = True
                    self._metrics.failing.set(1)
                    self._fails(_trouble(error))
                time.sleep(RETRY_S)
                continue
            if self._failing:
                self._failing = False
                self._metrics.failing.set(0)
                self._fails(None)
            self._written()
            return


def _trouble(error: sqlite3.Error) -> Trouble:
    message = f"the outbox cannot be written, and events wait in memory, {MOST_WAITING} at most: {error}"
    if error.sqlite_errorname == "SQLITE_FULL":
        return Trouble(Code.OUTBOX_DISK_FULL, message, "make room on the disk of `state_dir`")
    return Trouble(Code.OUTBOX_UNWRITABLE, message, "see what is wrong with the disk of `state_dir`")
