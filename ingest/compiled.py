"""Compiles functions to machine code with Numba and keeps the result between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGES = Path(__file__).resolve().parents[1]
MARK = b"@" + b"compiled"


def compiled(function: Function) -> Function:
    """Compiles the function on its first call, or loads it as compiled by an earlier process; for short functions."""
    return _in_turn(numba.njit(cache=True)(function))  # type: ignore[no-any-return]


def compiled_nogil(function: Function) -> Function:
    """As `compiled`, running without the GIL: for functions that take longer than getting it back may."""
    return _in_turn(numba.njit(cache=True, nogil=True)(function))  # type: ignore[no-any-return]


def _in_turn(dispatcher: Any) -> Any:
    """Of processes that want a function compiled at once one compiles it, and the others wait and load it.

    Numba itself lets them write to the same files: what was compiled for some types may then be found as compiled for
    others, and crash.
    """
    compile_here = dispatcher.compile

    def compile_(signature: Any) -> Any:
        with global_compiler_lock, _alone(dispatcher):
            return compile_here(signature)

    dispatcher.compile = compile_
    return dispatcher


# The functions, by their locks, that this process is compiling.
_held: set[Path] = set()


@contextmanager
def _alone(dispatcher: Any) -> Iterator[None]:
    """Within, no other process compiles this function. Those that it calls are locked within: none calls its caller."""
    assert isinstance(dispatcher._cache, FunctionCache), "as all are compiled here"
    code = dispatcher.py_func.__code__
    file = Path(dispatcher._cache.cache_path) / f"{Path(code.co_filename).stem}-{code.co_firstlineno}.lock"
    if file in _held:
        yield
        return
    with ExitStack() as stack:
        with suppress(OSError):  # nothing can be written there, so nobody is in the way
            file.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(file.open("w")), fcntl.LOCK_EX)
        _held.add(file)
        stack.callback(_held.discard, file)
        yield


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
