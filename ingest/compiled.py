"""Compiles functions to machine code with Numba and keeps the result between runs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGES = Path(__file__).resolve().parents[1]
MARK = b"@" + b"compiled"


def compiled(function: Function) -> Function:
    """Compiles the function on its first call, or loads it as compiled by an earlier process; for short functions."""
    return numba.njit(cache=True)(function)  # type: ignore[no-any-return]


def compiled_nogil(function: Function) -> Function:
    """As `compiled`, running without the GIL: for functions that take longer than getting it back may."""
    return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]


def _cache_folder() -> Path:
    """One for each state of all the compiled sources.

    Numba looks only at the file that holds a function for changes, not at those of the functions that it calls, and
    keeps its files beside the sources, where an installed service may not write.
    """
    digest = hashlib.sha256()
    for package in ("ingest", "inference", "tracking"):
        for file in sorted((PACKAGES / package).rglob("*.py")):
            source = file.read_bytes()
            if MARK in source:
                digest.update(source)
    name = f"vigil/compiled/{digest.hexdigest()[:12]}"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or not ours to write to
        folder = Path(tempfile.gettempdir()) / f"{os.getuid()}" / name
        folder.mkdir(parents=True, exist_ok=True)
    return folder


numba.config.CACHE_DIR = str(_cache_folder())
# Whether code of these sources had been compiled on this machine before; if not, that takes half a minute, once.
COMPILED_BEFORE = any(Path(numba.config.CACHE_DIR).iterdir())
