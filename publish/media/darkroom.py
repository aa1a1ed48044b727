"""The thread of a worker that makes pictures and clips, so that its loop need not."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from ingest.errors import VigilError
from publish.media.folder import MediaFolder, MediaWriteError
from publish.media.metrics import MediaMetrics

log = structlog.get_logger()

# Decoded frames that waiting work keeps from being freed, and work that waits.
MOST_FRAMES = 8
MOST_WORK = 256


class Darkroom:
    """One for all streams of a worker. Work is done in the order in which it came, in one thread.

    What cannot be done is counted, and told once for each change. Nothing raises.
    """

    def __init__(self, folder: MediaFolder, metrics: MediaMetrics, observe: Callable[[float], None]) -> None:
        """`observe` hears of the seconds that a piece of work took."""
        self.metrics = metrics
        self._folder = folder
        self._observe = observe
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="media")
        self._lock = threading.Lock()
        self._waiting = 0
        self._frames = Counter[int]()  # work by the frame that it keeps
        self._failing: str | None = None

    def take(self, work: Callable[[], None], frame: object = None) -> bool:
        """Whether the work will be done; False: there is too much of it. May be called from any thread.

        `frame` is what it keeps, if it keeps one; all work on one frame counts as one frame.
        """
        with self._lock:
            more = frame is not None and id(frame) not in self._frames
            if self._waiting >= MOST_WORK or (more and len(self._frames) >= MOST_FRAMES):
                return False
            self._waiting += 1
            if frame is not None:
                self._frames[id(frame)] += 1
        self._thread.submit(self._do, work, frame)
        return True

    @property
    def idle(self) -> bool:
        return not self._waiting

    def _do(self, work: Callable[[], None], frame: object) -> None:
        began = time.perf_counter()
        try:
            work()
        except Exception:  # one stream's picture must not end the thread that all have
            log.exception("media failed")
        finally:
            with self._lock:
                self._waiting -= 1
                if frame is not None:
                    self._frames[id(frame)] -= 1
                    self._frames += Counter()  # without those at nought
            self._observe(time.perf_counter() - began)

    # -- in the thread

    def write(self, stream: str, kind: str, key: str, make: Callable[[Path], object]) -> None:
        """Has `make` write the file of a key, and counts what becomes of it."""
        try:
            self._folder.fill(key, make)
        except VigilError as error:
            self.metrics.made.labels(stream, kind, "failed").inc()
            if not isinstance(error, MediaWriteError):
                log.warning("no picture or clip", stream=stream, key=key, code=error.code, error=str(error))
                return
            if self._failing != error.code:
                log.error("pictures and clips cannot be written; all else goes on", code=error.code, error=str(error))
            self._failing = error.code
            self.metrics.failing.set(1)
        except Exception:
            self.metrics.made.labels(stream, kind, "failed").inc()
            raise
        else:
            self.metrics.made.labels(stream, kind, "written").inc()
            if self._failing is not None:
                log.info("pictures and clips are written again")
                self._failing = None
                self.metrics.failing.set(0)
