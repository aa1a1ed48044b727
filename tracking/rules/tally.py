"""How many entered a zone or crossed a line lately: exact counts over sliding windows, by class and direction."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from ingest.clock import NS
from tracking.events import Counted
from tracking.rules.config import LineConfig, ZoneConfig

# A window remembers at most this many of a kind; of more, the first are forgotten.
MOST_COUNTED = 100_000


class Kind(NamedTuple):
    """What is counted apart. `direction` is that of a crossing."""

    class_name: str
    direction: str | None


class Tally:
    """Counts at one place of a stream, over its sessions. Times are a stream's `Timeline`, ns, and never go back.

    What was told at t is in a window of w seconds until just before t + w.
    """

    def __init__(self, config: ZoneConfig | LineConfig) -> None:
        self.windows = config.windows
        self._kept: list[tuple[int, dict[Kind, deque[int]]]] = [(round(window * NS), {}) for window in config.windows]
        self._every_ns = None if config.every is None else round(config.every * NS)
        self._since_report: Counter[Kind] = Counter()
        self._reported_ns = 0
        self._changed: set[tuple[int, Kind]] = set()

    def add(self, kind: Kind, now_ns: int) -> None:
        """One more, now."""
        self._since_report[kind] += 1
        for index, (_, kept) in enumerate(self._kept):
            kept.setdefault(kind, deque(maxlen=MOST_COUNTED)).append(now_ns)
            self._changed.add((index, kind))

    def advance(self, now_ns: int) -> None:
        """Forgets what is in no window any more."""
        for index, (window_ns, kept) in enumerate(self._kept):
            over_ns = now_ns - window_ns
            for kind, times in kept.items():
                while times and times[0] <= over_ns:
                    times.popleft()
                    self._changed.add((index, kind))

    def changed(self) -> list[tuple[float, Kind, int]]:
        """The counts that have changed since this was asked last, each with its window in seconds."""
        found = [(self.windows[index], kind, len(self._kept[index][1][kind])) for index, kind in self._changed]
        self._changed.clear()
        return found

    def report(self, now_ns: int) -> tuple[int, float, tuple[Counted, ...]] | None:
        """Once in `every`: the period's number, seconds since the report before, and what was counted in them.

        All reports together have counted everything once.
        """
        if self._every_ns is None or now_ns // self._every_ns == self._reported_ns // self._every_ns:
            return None
        kinds = sorted(set(self._since_report) | {kind for _, kept in self._kept for kind in kept}, key=str)
        counts = [
            Counted(*kind, self._since_report[kind], {
                window: len(kept.get(kind, ())) for window, (_, kept) in zip(self.windows, self._kept, strict=True)
            })
            for kind in kinds
        ]  # fmt: skip
        over_s = (now_ns - self._reported_ns) / NS
        self._since_report.clear()
        self._reported_ns = now_ns
        return now_ns // self._every_ns, over_s, tuple(one for one in counts if one.count or any(one.windows.values()))
