"""What is told of a track between its start and its end, and when. Pure: rows of a roster and times are arguments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.compiled import compiled
from tracking.events import Change
from tracking.roster import QUALITY, Floats, Ints

# A view is clearly better than the one that was told last when its quality is so many times that one's: when the object
# has come closer by a quarter, say. Along a whole street that is told some five times.
CLEARLY = 1.25

# A track's columns: when something was last told of it, ns of media time; what is still to be told; how often it was.
TOLD, PENDING, NUMBER = range(3)


FLAGS = {change: 1 << bit for bit, change in enumerate(Change)}
_BEST, _IDENTITY = FLAGS[Change.BEST], FLAGS[Change.IDENTITY]


class Updates:
    """Tells of the tracks of one session what changed, at most once in a pause each.

    The pause begins with the start and with every update; what changes within it is told together when it is over. Who
    a track is, is told at once. What was not told before a track ends is in its end.
    """

    def __init__(self, pause_s: float | None) -> None:
        """None: nothing is ever told."""
        self._pause_ns = None if pause_s is None else round(pause_s * NS)
        self._ints: Ints = np.zeros((0, 3), np.int64)
        self._qualities: NDArray[np.float64] = np.zeros(0)  # of the best view, as it was last told

    def started(self, row: int, quality: float, now_ns: int) -> None:
        """A track has this row from now on; `quality` is that of its view so far, which its start tells."""
        if row >= len(self._ints):
            more = max(16, row + 1)
            self._ints = np.concatenate([self._ints, np.zeros((more, 3), np.int64)])
            self._qualities = np.concatenate([self._qualities, np.zeros(more)])
        self._ints[row] = now_ns, 0, 0
        self._qualities[row] = quality

    def note(self, row: int, change: Change) -> None:
        """This is to be told of a track that has started."""
        self._ints[row, PENDING] |= FLAGS[change]

    def due(self, rows: NDArray[np.int64], floats: Floats, now_ns: int) -> list[tuple[int, int, list[Change]]]:
        """Which of the tracks with these rows have something to be told now: n of [N], the how manieth time, and what.

        `floats` are the roster's. It counts as told.
        """
        if self._pause_ns is None or not len(rows):
            return []
        told = _due(rows, floats, now_ns, self._pause_ns, self._ints, self._qualities)
        return [(n, number, [one for one in Change if what & FLAGS[one]]) for n, number, what in told.tolist()]


@compiled
def _due(
    rows: NDArray[np.int64], floats: Floats, now: int, pause: int, ints: Ints, qualities: NDArray[np.float64]
) -> Ints:
    """int64 [M, 3]: n, number, flags."""
    found = np.empty((len(rows), 3), np.int64)
    count = 0
    for n in range(len(rows)):
        row = rows[n]
        quality = floats[row, QUALITY]
        if quality >= CLEARLY * qualities[row] and quality > qualities[row]:
            ints[row, PENDING] |= _BEST
        pending = ints[row, PENDING]
        if pending & _IDENTITY or (pending and now - ints[row, TOLD] >= pause):
            ints[row, TOLD], ints[row, PENDING], qualities[row] = now, 0, quality
            ints[row, NUMBER] += 1
            found[count, 0], found[count, 1], found[count, 2] = n, ints[row, NUMBER], pending
            count += 1
    return found[:count]
