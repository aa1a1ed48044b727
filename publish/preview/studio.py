"""The threads of a worker that draw and encode for viewers: none while nobody watches such pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# However many streams a wall shows: pictures get fewer before analysis has to wait for a core.
MOST_THREADS = 4


class Studio:
    """Used in the worker's loop. Whoever takes a place gives it back; without any there are no threads."""

    def __init__(self) -> None:
        self._places = 0
        self._threads: ThreadPoolExecutor | None = None

    def take_place(self) -> None:
        self._places += 1
        if self._threads is None:
            count = min(MOST_THREADS, os.cpu_count() or 1)
            self._threads = ThreadPoolExecutor(count, thread_name_prefix="preview")

    def give_back(self) -> None:
        self._places -= 1
        if not self._places and self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def submit(self, work: Callable[[], None]) -> None:
        """Has it done; for those with a place, one piece of work at a time."""
        assert self._threads is not None, "take a place first"
        self._threads.submit(work)
