"""A child process of the supervisor: started, watched, told to stop, and its output brought into our log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from vigil.asking import ASK_S, Questions
from vigil.control import Control, Order

log = structlog.get_logger()

MAX_LINE_BYTES = 1 << 16
LAST_OUTPUT_S = 0.5
# Delay before the nth restart in a row; a child that lived for a while starts afresh.
RESTART_DELAYS_S = (0.0, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 30.0
# What Python's faulthandler writes of the thread that a signal ended the process in.
_CRASHED_THREAD = re.compile(r"Current thread 0x([0-9a-f]+)")


class Child:
    """One process running `module`. Always a fresh interpreter (spawn, never fork), in a session of its own, so that
    the terminal's Ctrl-C reaches the supervisor alone. Lives in the supervisor's loop.
    """

    def __init__(self, name: str, module: str, on_order: Callable[[Child, Order], None]) -> None:
        self.name = name
        self.last_beat = time.monotonic()
        self.started_at = time.monotonic()
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure: str | None = None
        self.told_to_stop = False
        self.crashed_thread: int | None = None  # as `threading.get_ident()` named it there
        self._module = module
        self._on_order = on_order
        self._process: asyncio.subprocess.Process | None = None
        self._control: Control | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._questions = Questions(name)

    @property
    def pid(self) -> int:
        assert self._process is not None, "start the child first"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        self._control, theirs = Control.pair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-X",
                "faulthandler",
                "-m",
                self._module,
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=MAX_LINE_BYTES,
            )
        self.started_at = self.last_beat = time.monotonic()
        asyncio.get_running_loop().add_reader(self._control.link, self._read_control)
        self._tasks = [
            asyncio.create_task(self._read_output(), name=f"{self.name} output"),
            asyncio.create_task(self._watch(), name=f"{self.name} exit"),
        ]

    def send(self, kind: str, fds: Sequence[int] = (), **data: Any) -> None:
        """Sends an order, with copies of file descriptors. A child that is gone is noticed elsewhere."""
        if self._control is None or self.ended.is_set():
            return
        with contextlib.suppress(OSError):
            self._control.send(kind, fds, **data)

    async def ask(self, question: str, timeout_s: float = ASK_S, **data: Any) -> dict[str, Any]:
        """What the child answers.

        Raises:
            UnansweredError: it is gone, or did not answer in time.
            RefusedError: its answer is no.
        """
        return await self._questions.ask(self.send, question, timeout_s, **data)

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

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
        assert self._control is not None
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
        assert self._process is not None and self._control is not None
        await self._process.wait()
        self._read_control()  # its last words
        await asyncio.wait(self._tasks[:1], timeout=LAST_OUTPUT_S)
        asyncio.get_running_loop().remove_reader(self._control.link)
        self._control.close()
        self.ended.set()
        self._questions.abandon()

    async def _read_output(self) -> None:
        """Its log lines keep their fields; whatever libraries print becomes a log line too."""
        assert self._process is not None and self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:
                continue  # a line longer than the limit was thrown away
            if not line:
                return
            self._log(line.decode(errors="replace").rstrip())

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


def restarts_in_a_row(child: Child, before: int) -> int:
    """How many times in a row a child ended soon after it had started."""
    return 0 if time.monotonic() - child.started_at > STEADY_S else before + 1


def restart_delay(restarts: int) -> float:
    return RESTART_DELAYS_S[min(max(restarts - 1, 0), len(RESTART_DELAYS_S) - 1)]
