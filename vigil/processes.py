"""Starting programs: those that must not outlive us, and our own, with a way to tell them what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from vigil.control import Control

# Where a fresh interpreter of ours finds its end of the control.
CONTROL_FD = 3
# The kernel sends SIGTERM when the parent is gone, however it went.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


class Process(NamedTuple):
    """A child process of ours that was just started: our end of its control, and a pipe with what it prints."""

    pid: int
    control: Control
    output: int


class Ends(NamedTuple):
    """Of a process that is about to be started: what we keep, and the descriptors it gets."""

    control: Control
    output: int
    theirs: tuple[int, int]


@contextmanager
def ends() -> Iterator[Ends]:
    """Whatever starts the process does so within; should that fail, nothing is left open."""
    control, theirs = Control.pair()
    reading, writing = os.pipe()
    try:
        with theirs:
            yield Ends(control, reading, (theirs.fileno(), writing))
    except BaseException:
        control.close()
        os.close(reading)
        raise
    finally:
        os.close(writing)


def fresh_interpreter(module: str, *arguments: str, **environment: str) -> Process:
    """Runs a module in an interpreter of its own, in a session of its own: the terminal's Ctrl-C reaches us alone.

    Raises:
        OSError: it cannot be.
    """
    with ends() as (ours, reading, (control, output)):
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-X", "faulthandler", "-m", module, *arguments],
            {**os.environ, **environment},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                (os.POSIX_SPAWN_DUP2, control, CONTROL_FD),
            ],
            setsid=True,
        )
        return Process(pid, ours, reading)


def dying_with_us(program: str, *arguments: str) -> list[str]:
    """The command that runs `program` (a path) so that it ends when this process does; Linux only."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), program, *arguments]
