"""A stream's visible states and how long to wait between connections."""

from __future__ import annotations

import random
from enum import StrEnum

from ingest.errors import Reason

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# Cameras lock an account after a few wrong passwords.
FIRST_AUTH_DELAY_S = 30.0
MAX_AUTH_DELAY_S = 600.0


class StreamState(StrEnum):
    """Where a stream stands. `ended`: a file came to its end; `stopped`: the service let go of the stream."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    BACKOFF = "backoff"
    FAILED = "failed"
    ENDED = "ended"
    STOPPED = "stopped"


class Backoff:
    """Exponential delays with jitter: 0.5 s doubling to 30 s; from 30 s to 10 min after a refused password."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._failures = 0

    def failed(self, reason: Reason) -> float:
        """Counts a failure and returns the seconds to wait before the next attempt."""
        first, cap = (FIRST_AUTH_DELAY_S, MAX_AUTH_DELAY_S) if reason is Reason.AUTH else (FIRST_DELAY_S, MAX_DELAY_S)
        delay: float = min(cap, first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return delay * self._rng.uniform(0.8, 1.2)

    def succeeded(self) -> None:
        """The stream delivered frames: the next failure starts from the shortest delay."""
        self._failures = 0
