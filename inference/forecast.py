"""When the next frame is to be expected, from when frames came so far. No clock."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

# Weight of the newest interval in a stream's mean one.
NEWEST = 0.2


class Forecast:
    """Cameras send at steady intervals: a stream's next frame comes one mean interval after its latest."""

    def __init__(self) -> None:
        self._latest: dict[Hashable, float] = {}
        self._interval: dict[Hashable, float] = {}

    def came(self, stream: Hashable, now_s: float) -> None:
        """A frame of the stream has arrived."""
        before = self._latest.get(stream)
        if before is not None:
            interval = now_s - before
            mean = self._interval.get(stream, interval)
            self._interval[stream] = mean + NEWEST * (interval - mean)
        self._latest[stream] = now_s

    def next_in(self, now_s: float) -> float | None:
        """Seconds until the next frame of any stream is due; None when nothing can be said.

        A stream that is late is not waited for.
        """
        due = (self._latest[stream] + interval - now_s for stream, interval in self._interval.items())
        return min((seconds for seconds in due if seconds >= 0), default=None)

    def forget(self, streams: Iterable[Hashable]) -> None:
        for stream in streams:
            self._latest.pop(stream, None)
            self._interval.pop(stream, None)
