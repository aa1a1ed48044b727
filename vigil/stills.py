"""A stream's newest picture, asked for from outside: the worker writes it into memory that the supervisor has lent it.

A picture is larger than what the control socket carries.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from publish.media.still import Still


async def ask_still(ask: Callable[..., Awaitable[dict[str, Any]]], **asked: Any) -> Still:
    """`ask` asks the worker, and takes file descriptors for it as `fds`.

    Raises:
        VigilError: what the worker refuses with, or that it does not answer.
    """
    memory = os.memfd_create("still")
    try:
        told = await ask("still", fds=[memory], **asked)
        return Still(
            os.pread(memory, told["bytes"], 0), told["session"], told["seq"],
            datetime.fromisoformat(told["captured_at"]), told["boxes_seq"],
        )  # fmt: skip
    finally:
        os.close(memory)
