"""Starting programs that must not outlive us."""

from __future__ import annotations

import os
import sys

# The kernel sends SIGTERM when the parent is gone, however it went.
_DIE_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


def dying_with_us(program: str, *arguments: str) -> list[str]:
    """The command that runs `program` (a path) so that it ends when this process does; Linux only."""
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), program, *arguments]
