"""Who crosses a line, and to which side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.compiled import compiled
from tracking.events import EndReason, EventType
from tracking.roster import TOP, Floats, Ints, Roster, Seen
from tracking.rules.config import LineConfig
from tracking.rules.geometry import Points, in_heights, meets, right_of
from tracking.rules.happening import Happening, Moment, Sighting

# A track's columns at a line: the side where it was last clearly (1 right, -1 left, 0 unknown), and the crossing it has
# made but not yet held: when, ns of media time, -1 for none, and to which side.
SIDE, CROSSED, TO = range(3)
# What the compiled part tells of a track.
CROSSES, HAS_CROSSED = range(2)


class Line:
    """One line of one session.

    A crossing is a way through the line itself, not around its ends, from clearly on one side to clearly on the other,
    where the track then stays for `hold`. Going back before that undoes it.
    """

    def __init__(self, name: str, config: LineConfig, classes: Sequence[str], roster: Roster) -> None:
        """`classes` are the model's."""
        self.name = name
        self.anchor = config.anchor
        self._config = config
        self._roster = roster
        self._wanted = [config.classes is None or one in config.classes for one in classes]
        self._hold_ns = round(config.hold * NS)
        self._line: Points = np.zeros((0, 2))
        self._size: tuple[int, int] | None = None
        self._ints, self._floats = _nowhere(0)
        self._crossed: dict[int, Sighting] = {}
        self._numbers: Counter[int] = Counter()

    def update(self, now: Moment, seen: Seen, points: Points) -> list[Happening]:
        """The crossings that are certain in this frame; `points` are the anchors of the tracks seen in it."""
        if self._size != (now.width, now.height):
            self._size = now.width, now.height
            self._line = in_heights((self._config.start, self._config.end), now.width, now.height)
            self._ints, self._floats = _nowhere(0)
            self._crossed.clear()
        if len(self._ints) < self._roster.capacity:
            ints, floats = _nowhere(self._roster.capacity - len(self._ints))
            self._ints, self._floats = np.concatenate([self._ints, ints]), np.concatenate([self._floats, floats])
        done = _step(
            points, seen.rows, now.pts_ns, self._line, self._config.margin, self._hold_ns, self._ints, self._floats
        )
        told: list[Happening] = []
        for n, what in done.tolist() if len(done) else ():
            if what == CROSSES:
                self._crossed[seen.ids[n]] = seen.sighting(n, now)
            else:
                told += self._tell(seen.ids[n], int(seen.rows[n]))
        return told

    def ended(self, track_id: int, row: int, last: Sighting, reason: EndReason) -> list[Happening]:
        """The track is no more: a crossing that it did not undo counts."""
        del last, reason
        if row >= len(self._ints):
            return []
        told = self._tell(track_id, row) if self._ints[row, CROSSED] >= 0 else []
        self._crossed.pop(track_id, None)
        self._numbers.pop(track_id, None)
        self._ints[row], self._floats[row] = (fresh[0] for fresh in _nowhere(1))
        return told

    def _tell(self, track_id: int, row: int) -> list[Happening]:
        self._ints[row, CROSSED] = -1
        crossed = self._crossed.pop(track_id)
        if not self._wanted[self._roster.ints[row, TOP]]:
            return []
        self._numbers[track_id] += 1
        direction = "right" if self._ints[row, TO] > 0 else "left"
        return [Happening(
            EventType.LINE_CROSSED, track_id, self.name, crossed, self._numbers[track_id], direction=direction
        )]  # fmt: skip


def _nowhere(rows: int) -> tuple[Ints, Floats]:
    """Rows of tracks that have not been seen yet."""
    ints = np.zeros((rows, TO + 1), np.int64)
    ints[:, CROSSED] = -1
    return ints, np.zeros((rows, 2))


@compiled
def _step(
    points: Points,
    rows: NDArray[np.int64],
    now: int,
    line: Points,
    margin: float,
    hold: int,
    ints: Ints,
    floats: Floats,
) -> Ints:
    """One frame: which of the seen tracks, by its place among them, has done or begun what; int64 [K, 2], in order."""
    done = np.empty((len(rows) * 2, 2), np.int64)
    count = 0
    for n in range(len(rows)):
        track, last = ints[rows[n]], floats[rows[n]]
        x, y = points[n, 0], points[n, 1]
        away = right_of(x, y, line)
        if abs(away) > margin:
            side = 1 if away > 0 else -1
            if track[SIDE] == -side and meets(last[0], last[1], x, y, line):
                if track[CROSSED] < 0:
                    track[CROSSED], track[TO] = now, side
                    done[count, 0], done[count, 1] = n, CROSSES
                    count += 1
                elif track[TO] != side:
                    track[CROSSED] = -1
            track[SIDE] = side
            last[0], last[1] = x, y
        if track[CROSSED] >= 0 and now - track[CROSSED] >= hold:
            done[count, 0], done[count, 1] = n, HAS_CROSSED
            count += 1
    return done[:count]
