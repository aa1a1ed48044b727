"""The fork server: a process with everything imported and compiled, from which most others are forked.

A fork takes milliseconds where a fresh interpreter takes seconds, and shares its memory until one of them writes to it.
The fork server has one thread and uses neither CUDA nor the network, so that forking it is safe.

| runs                 | where                                            | ends                                    |
|----------------------|--------------------------------------------------|-----------------------------------------|
| `ForkServer`         | the supervisor's loop                            | when its process does                   |
| `main`               | a fresh interpreter's only thread                | when told to, or the supervisor is gone |
| `main` of `PREPARED` | a forked process, which is the supervisor's child | see there                               |
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import setproctitle
import structlog

from vigil import logging
from vigil.asking import DeclinedError, UnansweredError
from vigil.child import Child
from vigil.control import Control, Order
from vigil.processes import CONTROL_FD, Process, ends, fresh_interpreter

log = structlog.get_logger()

# What can be forked, in the order in which it is wanted when a service starts. All have `main`; some have `WARM_UPS`,
# which compile, or load compiled, what nobody should wait for later.
DETECTOR, WORKER, PROBE, PREVIEW = PREPARED = ("vigil.detector", "vigil.worker", "vigil.probe", "vigil.preview")
# What is prepared only when nothing has been forked for a while: it must not make starting slower.
LATER = (PROBE, PREVIEW)
QUIET_S = 5.0
# A busy machine may import for long.
FORK_S = 180.0
BEAT_S = 1.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def launch(prepared: Sequence[str] = PREPARED) -> Process:
    """Starts the process; what it forks, one of the modules that it prepares, will be a child of ours."""
    # Forked processes are orphans at once. We adopt them, and so hear how they end even if the fork server is gone.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    # OpenBLAS would start threads that nothing we compute has work for, in each process its own.
    return fresh_interpreter("vigil.forkserver", *prepared, OPENBLAS_NUM_THREADS="1")


class ForkServer(Child):
    def __init__(self, process: Process) -> None:
        super().__init__("fork server", process, lambda *_: None)

    async def fork(self, name: str, module: str) -> Process:
        """Runs `main` of a prepared module in a new process, which `ps` shows by its name.

        Raises:
            OSError: it cannot be.
        """
        with ends() as (control, output, theirs):
            try:
                reply = await self.ask("fork", FORK_S, theirs, name=name, module=module)
            except (UnansweredError, DeclinedError) as error:
                raise OSError(str(error)) from None
            return Process(reply["pid"], control, output)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.configure(level="debug", style="json")
    setproctitle.setproctitle("vigil fork server")
    control = Control.inherited(CONTROL_FD)
    try:
        _serve(control, sys.argv[1:])
    except (EOFError, OSError):
        os._exit(1)  # the supervisor is gone


def _serve(control: Control, prepared: Sequence[str]) -> None:
    """Prepares whenever nothing is asked for; it is ready when all is prepared."""
    unprepared = list(prepared)
    last_asked = time.monotonic()
    while True:
        idle = bool(unprepared) and (unprepared[0] not in LATER or time.monotonic() - last_asked > QUIET_S)
        asked = select.select([control.link], [], [], 0 if idle else BEAT_S)[0]
        order = control.receive() if asked else None
        if order is not None and order.kind == "stop":
            return
        if order is not None:
            last_asked = time.monotonic()
        while unprepared and (idle if order is None else order.data["asked"]["module"] in unprepared):
            _prepare(unprepared.pop(0))
            gc.collect()
            gc.freeze()  # else a child's first collection writes to, and so copies, all that it shares with us
            if not unprepared:
                control.send("ready")
            if order is None:
                break
        if order is not None:
            _answer(control, order)
        control.send("beat")


def _prepare(module: str) -> None:
    gc.disable()  # what is imported stays: collecting while more and more of it comes takes a tenth of the time
    warm_ups: Sequence[Callable[[], object]] = getattr(import_module(module), "WARM_UPS", ())
    compiled = sys.modules.get("ingest.compiled")
    if compiled is not None and not compiled.COMPILED_BEFORE and warm_ups:
        log.info("compiling for this machine; this takes up to a minute, once", part=module)
        with suppress(OSError):  # it cannot fork: it will take longer
            _beside(warm_ups, len(os.sched_getaffinity(0)))
    for warm_up in warm_ups:
        warm_up()
    gc.enable()


def _beside(works: Sequence[Callable[[], object]], most: int) -> None:
    """Has each done in a process of its own, at most so many at once: what they compile is then on disk."""
    running = 0
    for work in works:
        if running == most:
            os.wait()
            running -= 1
        if os.fork() == 0:
            _alone(work)
        running += 1
    for _ in range(running):
        os.wait()


def _alone(work: Callable[[], object]) -> NoReturn:
    with suppress(BaseException):  # who wanted it does it again, and tells
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.close(CONTROL_FD)  # else nobody would hear that the fork server is gone
        work()
    os._exit(0)


def _answer(control: Control, order: Order) -> None:
    try:
        reply: dict[str, Any] = {"answer": {"pid": _fork(control, order)}}
    except OSError as error:
        reply = {"refused": {"code": "process.not_started", "message": f"cannot fork: {error.strerror}"}}
    for fd in order.fds:
        os.close(fd)
    control.send("answer", number=order.data["number"], **reply)


def _fork(ours: Control, order: Order) -> int:
    """Forks twice: what is between ends at once, and leaves the new process to the supervisor."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as pipe:
        try:
            between = os.fork()
            if between == 0:
                os.close(reading)
                _leave_behind(ours, order, writing)
        finally:
            os.close(writing)
        pid = pipe.read()
    os.waitpid(between, 0)
    if not pid:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(pid)


def _leave_behind(ours: Control, order: Order, writing: int) -> NoReturn:
    try:
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            ours.close()
            _become(order)
        os.write(writing, str(pid).encode())
    finally:
        os._exit(0)


def _become(order: Order) -> NoReturn:
    try:
        control, output = order.fds
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        setproctitle.setproctitle(f"vigil {order.data['asked']['name']}")
        sys.modules[order.data["asked"]["module"]].main(Control.inherited(control))
    except BaseException:
        traceback.print_exc()
    os._exit(1)


if __name__ == "__main__":
    main()
