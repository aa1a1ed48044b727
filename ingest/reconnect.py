"""A stream's visible states and how long to wait between connections."""

from __future__ import annotations

import random
from enum import StrEnum

from ingest.errors import Reason

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 30.0
# A connection that lived so long was a good one: the next failure starts from the shortest delay.
STEADY_S = 10.0
# Cameras lock an account after a few wrong passwords.
FIRST_AUTH_DELAY_S = 30.0
MAX_AUTH_DELAY_S = 600.0


class StreamState(StrEnum):
    """Where a stream stands.

    Attributes:
        CONNECTING: no picture yet.
        LIVE: pictures arrive.
        STALLED: connected, but no new pictures; it goes back to live, or ends and is tried again.
        BACKOFF: waiting for the next attempt.
        FAILED: given up; only a source that ends, such as a file, is.
        ENDED: a file came to its end.
        STOPPED: the service let go of the stream.
        PAUSED: the service let go of the camera, and waits for somebody to say that it is to go on.
    """

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    BACKOFF = "backoff"
    FAILED = "failed"
    ENDED = "ended"
    STOPPED = "stopped"
    PAUSED = "paused"


class Backoff:
    """Exponential delays with jitter: 0.5 s doubling to 30 s; from 30 s to 10 min after a refused password.

    The two are counted apart, so that a camera that is now away and now refuses is never asked more often than one that
    only refuses.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._failures = {True: 0, False: 0}  # by whether the login was refused

    def failed(self, reason: Reason, live_s: float = 0.0) -> float:
        """Counts a failure, of a connection that was live for `live_s`; returns the seconds until the next attempt."""
        if live_s >= STEADY_S:
            self._failures = {True: 0, False: 0}
        refused = reason is Reason.AUTH
        first, cap = (FIRST_AUTH_DELAY_S, MAX_AUTH_DELAY_S) if refused else (FIRST_DELAY_S, MAX_DELAY_S)
        delay: float = min(cap, first * 2.0 ** min(self._failures[refused], 16))
        self._failures[refused] += 1
        return delay * self._rng.uniform(0.8, 1.2)
