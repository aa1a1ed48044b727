"""OpenVINO's cache of compiled models, which all processes share."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openvino as ov

from inference.model import cache_dir


def use_cache(core: ov.Core) -> None:
    """Has compiled models kept for the next start."""
    core.set_property({"CACHE_DIR": str(cache_dir() / "openvino")})


@contextmanager
def alone(model: Path) -> Iterator[None]:
    """Within, no other process or thread compiles the model: of two that write the same file, one fails or dies."""
    with (cache_dir() / f"{model.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
