"""A child process of the supervisor: started, watched, told to stop, and its output brought into our log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from vigil.asking import ASK_S, Questions
from vigil.control import Order
from vigil.processes import Process

log = structlog.get_logger()

MAX_LINE_BYTES = 1 << 16
LAST_OUTPUT_S = 0.5
# Delay before the nth restart in a row; a child that lived for a while starts afresh.
RESTART_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
# What Python's faulthandler writes of the thread that a signal ended the process in.
_CRASHED_THREAD = re.compile(r"Current thread 0x([0-9a-f]+)")


class Child:
    """One process. Lives in the supervisor's loop."""

    def __init__(self, name: str, process: Process, on_order: Callable[[Child, Order], None]) -> None:
        self.name = name
        self.pid = process.pid
        self.started_at = self.last_beat = time.monotonic()
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure: str | None = None
        self.told_to_stop = False
        self.crashed_thread: int | None = None  # as `threading.get_ident()` named it there
        self.exit_code: int | None = None  # as subprocess has it: a signal's number is negative
        self._on_order = on_order
        self._control = process.control
        self._questions = Questions(name)
        asyncio.get_running_loop().add_reader(self._control.link, self._read_control)
        self._tasks = [
            asyncio.create_task(self._read_output(process.output), name=f"{name} output"),
            asyncio.create_task(self._watch(), name=f"{name} exit"),
        ]

    def send(self, kind: str, fds: Sequence[int] = (), **data: Any) -> None:
        """Sends an order, with copies of file descriptors. A child that is gone is noticed elsewhere."""
        if self.ended.is_set():
            return
        with contextlib.suppress(OSError):
            self._control.send(kind, fds, **data)

    async def ask(
        self, question: str, timeout_s: float = ASK_S, fds: Sequence[int] = (), **data: Any
    ) -> dict[str, Any]:
        """What the child answers; it gets copies of the file descriptors.

        Raises:
            UnansweredError: it is gone, or did not answer in time.
            DeclinedError: its answer is no.
        """
        return await self._questions.ask(partial(self.send, fds=fds), question, timeout_s, **data)

    def kill(self) -> None:
        if self.exit_code is None:
            os.kill(self.pid, signal.SIGKILL)

    async def stop(self, timeout_s: float) -> None:
        """Asks it to end, and kills it when it has not within `timeout_s`; one still starting has nothing to finish."""
        self.told_to_stop = True
        if not self.ready.is_set():
            self.kill()
        self.send("stop")
        try:
            await asyncio.wait_for(self.ended.wait(), timeout_s)
        except TimeoutError:
            log.warning("child does not stop; killing it", child=self.name)
            self.kill()
            await self.ended.wait()

    def _read_control(self) -> None:
        try:
            while order := self._control.receive(wait=False):
                self.last_beat = time.monotonic()
                if order.kind == "ready":
                    self.ready.set()
                elif order.kind == "failed":
                    self.failure = order.data["message"]
                elif order.kind == "answer":
                    self._questions.answered(order)
                    continue
                self._on_order(self, order)
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._control.link)

    async def _watch(self) -> None:
        await _ended(self.pid)
        self.exit_code = _reap(self.pid)
        self._read_control()  # its last words
        await asyncio.wait(self._tasks[:1], timeout=LAST_OUTPUT_S)
        asyncio.get_running_loop().remove_reader(self._control.link)
        self._control.close()
        self.ended.set()
        self._questions.abandon()

    async def _read_output(self, pipe: int) -> None:
        """Its log lines keep their fields; whatever libraries print becomes a log line too."""
        output = asyncio.StreamReader(limit=MAX_LINE_BYTES)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(pipe, "rb", 0)
        )
        try:
            while True:
                try:
                    line = await output.readline()
                except ValueError:
                    continue  # a line longer than the limit was thrown away
                if not line:
                    return
                self._log(line.decode(errors="replace").rstrip())
        finally:
            transport.close()

    def _log(self, line: str) -> None:
        if not line:
            return
        if crashed := _CRASHED_THREAD.match(line):
            self.crashed_thread = int(crashed[1], 16)
        try:
            fields = json.loads(line)
            event, level = fields.pop("event"), fields.pop("level")
            fields.pop("timestamp", None)
        except (ValueError, KeyError, AttributeError, TypeError):
            log.warning("output", process=self.name, line=line)
            return
        getattr(log, level, log.info)(event, process=self.name, **fields)


async def _ended(pid: int) -> None:
    """Returns once the process has ended; it is still to be reaped."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    watching = os.pidfd_open(pid)
    try:
        loop.add_reader(watching, ended.set)
        await ended.wait()
    finally:
        loop.remove_reader(watching)
        os.close(watching)


def _reap(pid: int) -> int:
    """Forgets an ended process; its exit code."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def restarts_in_a_row(child: Child, before: int) -> int:
    """How many times in a row a child ended soon after it had started."""
    return 0 if time.monotonic() - child.started_at > STEADY_S else before + 1


def restart_delay(restarts: int) -> float:
    return RESTART_DELAYS_S[min(max(restarts - 1, 0), len(RESTART_DELAYS_S) - 1)]
