"""Whether a live session still shows anything new."""

from __future__ import annotations

from ingest.clock import NS
from ingest.errors import Reason, SourceError

# A camera is late when it is this many times later than it usually is.
USUAL_INTERVALS = 3
# Weight of the latest interval in the usual one.
SMOOTHING = 0.2


class Pulse:
    """Of one session of a live source. The reader feeds it; anyone may ask it whether the session stalls.

    A frame is new when its timestamp has moved. Nothing new for half of the read time-out is a stall, and for all of it
    the end. For a camera that sends less often, both are at least three of its usual intervals.
    """

    def __init__(self, read_timeout_s: float, now_ns: int) -> None:
        self._timeout_ns = int(read_timeout_s * NS)
        self._usual_ns = 0.0
        self._new_ns = now_ns
        self._pts: int | None = None

    def frame(self, pts: int | None, now_ns: int) -> None:
        """A frame arrived; `pts` is the container's own, None where it has none.

        Raises:
            SourceError: timestamps have stood still for too long.
        """
        if pts is not None and pts == self._pts:
            if self._without_new(now_ns) > self._patience(self._timeout_ns):
                raise SourceError(Reason.STALLED, f"timestamps stand still at {pts} for {self._waited(now_ns)}")
            return
        self._pts = pts
        self._usual_ns += SMOOTHING * (now_ns - self._new_ns - self._usual_ns)
        self._new_ns = now_ns

    def stall(self, now_ns: int) -> str | None:
        """What is wrong now, in words; None when nothing is."""
        if self._without_new(now_ns) <= self._patience(self._timeout_ns / 2):
            return None
        return f"no new picture for {self._waited(now_ns)}"

    def _without_new(self, now_ns: int) -> int:
        return now_ns - self._new_ns

    def _patience(self, at_least_ns: float) -> float:
        return max(at_least_ns, USUAL_INTERVALS * self._usual_ns)

    def _waited(self, now_ns: int) -> str:
        return f"{self._without_new(now_ns) / NS:.1f} s"
