"""Test processes that run side by side compile each function once: who comes second waits and loads it.

The service needs no such thing: its fork server compiles before it forks.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

_mine: set[Path] = set()


@contextmanager
def _alone(dispatcher: Dispatcher) -> Iterator[None]:
    """Within, no other process compiles this function. Those that it calls are locked within: none calls its caller."""
    if not isinstance(dispatcher._cache, FunctionCache):
        yield
        return
    code = dispatcher.py_func.__code__
    file = Path(dispatcher._cache.cache_path) / f"{Path(code.co_filename).stem}-{code.co_firstlineno}.lock"
    if file in _mine:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    _mine.add(file)
    try:
        with file.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
    finally:
        _mine.discard(file)


def compile_once_for_all() -> None:
    compile_here = Dispatcher.compile

    def compile_(dispatcher: Dispatcher, signature: Any) -> Any:
        with (
            global_compiler_lock,
            _alone(dispatcher),
        ):
            return compile_here(dispatcher, signature)

    Dispatcher.compile = compile_
