"""Who is in a zone: entered, stayed, left; and who stops, lingers, hurries or is left behind there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.compiled import compiled
from tracking.events import ENDS, EndReason, EventType
from tracking.roster import FIT, TOP, Floats, Ints, Roster, Seen
from tracking.rules.config import ZoneConfig
from tracking.rules.geometry import Points, depth_at, in_heights, on_border
from tracking.rules.happening import Happening, Moment, Sighting
from tracking.speed import SPEED

# Who stays near an object for so long is its owner; passers-by are not. Who is not seen for a moment is still there.
OWNER_STAYS_NS = 5 * NS
OWNER_HIDDEN_NS = 1 * NS

# A track's columns in a zone. Flags of this stay: it is in, of a class that is asked for, and what has been told of it.
INSIDE, COUNTS, DWELT, STOPPED, LOITERS, ABANDONED, SPED = range(7)
FLAGS = 7
# Times, ns of media time, -1 for none: of turning (first seen on the other side of the edge, not yet for long enough),
# of entering, since when it rests, is away from there, is too fast, has someone near it; when it had so last, and when
# it had its owner last.
TURNED, ENTERED, RESTS, AWAY, FAST, NEAR_FROM, NEAR, OWNED = range(FLAGS, FLAGS + 8)

# What the compiled part tells of a track: what it has begun, whose frame is to be remembered, and what it has done.
TURNS, GOES = range(2)
ENTERS, LEAVES, COUNTS_NOW, DWELLS, STOPS, MOVES, IS_ABANDONED, IS_CLEARED, IS_LOITERING, IS_SPEEDING = range(2, 12)
BEGINS = {
    DWELLS: EventType.ZONE_DWELL,
    STOPS: EventType.ZONE_STOPPED,
    IS_ABANDONED: EventType.ZONE_ABANDONED,
    IS_LOITERING: EventType.ZONE_LOITERING,
    IS_SPEEDING: EventType.ZONE_SPEEDING,
}


@dataclass(slots=True)
class _Stay:
    """`open` is what has begun and not ended, and when it began, ns of media time."""

    since: Sighting
    counts: bool = False
    open: dict[EventType, int] = field(default_factory=dict)


class Zone:
    """One zone of one session.

    A track that is not seen stays where it was: it neither leaves nor enters until it is seen elsewhere, or ends.
    """

    def __init__(self, name: str, config: ZoneConfig, classes: Sequence[str], roster: Roster) -> None:
        """`classes` are the model's."""
        self.name = name
        self.anchor = config.anchor
        self._config = config
        self._roster = roster
        self._wanted = np.array([config.classes is None or one in config.classes for one in classes])
        self._owners = np.array([one in config.owners for one in classes])
        self._limits = np.array([config.margin, config.still_within, config.owner_within, config.speed_over or np.inf])
        seconds = (config.hold, config.dwell, config.stopped, config.loiter, config.abandoned)
        self._times = np.array([-1 if one is None else round(one * NS) for one in seconds])
        self._border = on_border(config.polygon)
        self._polygon: Points = np.zeros((0, 2))
        self._size: tuple[int, int] | None = None
        self._ints, self._floats = _nowhere(0)
        self._stays: dict[int, _Stay] = {}
        self._began: dict[int, dict[int, Sighting]] = {TURNS: {}, GOES: {}}
        self._numbers: Counter[tuple[int, EventType]] = Counter()
        self._crowded = False
        self._count = 0

    def __len__(self) -> int:
        """How many objects are in it."""
        return self._count

    def update(self, now: Moment, seen: Seen, points: Points) -> list[Happening]:
        """What the tracks seen in this frame do; `points` are their anchors."""
        if self._size != (now.width, now.height):
            self._size = now.width, now.height
            self._polygon = in_heights(self._config.polygon, now.width, now.height)
        if len(self._ints) < self._roster.capacity:
            ints, floats = _nowhere(self._roster.capacity - len(self._ints))
            self._ints, self._floats = np.concatenate([self._ints, ints]), np.concatenate([self._floats, floats])
        done = _step(
            points, seen.rows, seen.boxes, now.pts_ns, now.height, self._polygon, self._border, self._wanted,
            self._owners, self._limits, self._times, self._roster.ints, self._roster.floats, self._ints, self._floats,
        )  # fmt: skip
        return [told for n, what in done.tolist() for told in self._do(n, what, now, seen)] if len(done) else []

    def ended(self, track_id: int, row: int, last: Sighting, reason: EndReason) -> list[Happening]:
        """The track is no more; who was in the zone leaves it."""
        turned = self._began[TURNS].get(track_id, last) if self._is_turning(row) else last
        told = self._leave(track_id, turned, reason) if track_id in self._stays else []
        for begun in self._began.values():
            begun.pop(track_id, None)
        for kind in EventType:
            self._numbers.pop((track_id, kind), None)
        if row < len(self._ints):
            self._ints[row], self._floats[row] = (fresh[0] for fresh in _nowhere(1))
        return told

    def _is_turning(self, row: int) -> bool:
        return row < len(self._ints) and bool(self._ints[row, TURNED] >= 0)

    def _do(self, n: int, what: int, now: Moment, seen: Seen) -> list[Happening]:
        track_id, row = seen.ids[n], seen.rows[n]
        if what in self._began:
            self._began[what][track_id] = seen.sighting(n, now)
            return []
        if what == ENTERS:
            self._stays[track_id] = _Stay(self._began[TURNS].pop(track_id))
            return self._count_in(track_id) if self._ints[row, COUNTS] else []
        if what == COUNTS_NOW:
            return self._count_in(track_id)
        if what == LEAVES:
            return self._leave(track_id, self._began[TURNS].pop(track_id), None)
        if what == MOVES:
            gone = self._began[GOES].pop(track_id)
            return self._close(track_id, EventType.ZONE_STOPPED, gone) + self._close(
                track_id, EventType.ZONE_ABANDONED, gone
            )
        if what == IS_CLEARED:
            return self._close(track_id, EventType.ZONE_ABANDONED, seen.sighting(n, now))
        kind, stay = BEGINS[what], self._stays[track_id]
        since = stay.since.at.pts_ns
        if what in (STOPS, IS_ABANDONED):
            since = int(self._ints[row, RESTS])
        if what == IS_ABANDONED:
            since = max(since, int(self._ints[row, OWNED]))
        if kind in ENDS:
            stay.open[kind] = since
        duration_s = None if what == IS_SPEEDING else (now.pts_ns - since) / NS
        return self._tell(kind, track_id, seen.sighting(n, now), duration_s)

    def _count_in(self, track_id: int) -> list[Happening]:
        stay = self._stays[track_id]
        stay.counts, since = True, stay.since
        self._count += 1
        told = self._tell(EventType.ZONE_ENTERED, track_id, since)
        if self._config.crowd is not None and not self._crowded and self._count >= self._config.crowd:
            self._crowded = True
            told += self._tell(EventType.ZONE_CROWDED, track_id, since)
        return told

    def _leave(self, track_id: int, since: Sighting, reason: EndReason | None) -> list[Happening]:
        stay = self._stays[track_id]
        told = [one for kind in list(stay.open) for one in self._close(track_id, kind, since, reason)]
        del self._stays[track_id]
        if not stay.counts:
            return told
        self._count -= 1
        if self._config.crowd is not None and self._count < self._config.crowd:
            self._crowded = False
        stayed_s = max(0.0, (since.at.pts_ns - stay.since.at.pts_ns) / NS)
        return told + self._tell(EventType.ZONE_LEFT, track_id, since, stayed_s, reason)

    def _close(
        self, track_id: int, began: EventType, seen: Sighting, reason: EndReason | None = None
    ) -> list[Happening]:
        since = self._stays[track_id].open.pop(began, None)
        if since is None:
            return []
        return self._tell(ENDS[began], track_id, seen, max(0.0, (seen.at.pts_ns - since) / NS), reason)

    def _tell(
        self, kind: EventType, track_id: int, seen: Sighting, duration_s: float | None = None,
        reason: EndReason | None = None,
    ) -> list[Happening]:  # fmt: skip
        self._numbers[track_id, kind] += 1
        number = self._numbers[track_id, kind]
        return [Happening(kind, track_id, self.name, seen, number, None, duration_s, self._count, reason)]


def _nowhere(rows: int) -> tuple[Ints, Floats]:
    """Rows of tracks that have not been seen yet."""
    ints = np.zeros((rows, OWNED + 1), np.int64)
    ints[:, FLAGS:] = -1
    return ints, np.zeros((rows, 2))


@compiled
def _step(
    points: Points, rows: NDArray[np.int64], boxes: NDArray[np.float32], now: int, height: int, polygon: Points,
    border: NDArray[np.bool_], wanted: NDArray[np.bool_], owners: NDArray[np.bool_], limits: Floats, times: Ints,
    roster_ints: Ints, roster_floats: Floats, ints: Ints, floats: Floats,
) -> Ints:  # fmt: skip
    """One frame: which of the seen tracks, by its place among them, has done or begun what; int64 [K, 2], in order."""
    margin, still_within, owner_within, speed_over = limits[0], limits[1], limits[2], limits[3]
    hold, dwell, stopped, loiter, abandoned = times[0], times[1], times[2], times[3], times[4]
    done = np.empty((len(rows) * 8, 2), np.int64)
    count = 0
    for n in range(len(rows)):
        track = ints[rows[n]]
        x, y = points[n, 0], points[n, 1]
        if stopped >= 0 or loiter >= 0 or abandoned >= 0:
            size = np.sqrt((boxes[n, 2] - boxes[n, 0]) * (boxes[n, 3] - boxes[n, 1])) / height
            goes, has_gone = _rest(track, floats[rows[n]], x, y, still_within * size, now, hold)
            if goes:
                done[count, 0], done[count, 1] = n, GOES
                count += 1
            if has_gone:
                done[count, 0], done[count, 1] = n, MOVES
                count += 1

        inside = depth_at(x, y, polygon, border)
        is_in = track[INSIDE] == 1
        turns = inside < -margin if is_in else inside > margin
        if turns:
            if track[TURNED] < 0:
                track[TURNED] = now
                done[count, 0], done[count, 1] = n, TURNS
                count += 1
            if now - track[TURNED] >= hold:
                done[count, 0], done[count, 1] = n, (LEAVES if is_in else ENTERS)
                count += 1
                track[:FLAGS] = 0
                track[INSIDE] = 0 if is_in else 1
                track[COUNTS] = wanted[roster_ints[rows[n], TOP]]
                track[ENTERED], track[TURNED], track[FAST] = track[TURNED], -1, -1
        elif (inside > 0) == is_in:
            track[TURNED] = -1  # it went back
        if turns or track[INSIDE] == 0:
            continue
        if track[COUNTS] == 0:
            if not wanted[roster_ints[rows[n], TOP]]:
                continue
            track[COUNTS] = 1  # it was taken for something else when it came
            done[count, 0], done[count, 1] = n, COUNTS_NOW
            count += 1

        if dwell >= 0 and track[DWELT] == 0 and now - track[ENTERED] >= dwell:
            track[DWELT] = 1
            done[count, 0], done[count, 1] = n, DWELLS
            count += 1
        rested = now - track[RESTS]
        if stopped >= 0 and track[STOPPED] == 0 and track[AWAY] < 0 and rested >= stopped:
            track[STOPPED] = 1
            done[count, 0], done[count, 1] = n, STOPS
            count += 1
        if loiter >= 0 and track[LOITERS] == 0 and now - track[ENTERED] >= loiter and 2 * rested < loiter:
            track[LOITERS] = 1
            done[count, 0], done[count, 1] = n, IS_LOITERING
            count += 1
        if abandoned >= 0:
            near = _is_near(n, points, rows, boxes, height, owners, owner_within, roster_ints)
            is_cleared, is_abandoned = _owned(track, near, now, abandoned)
            if is_cleared or is_abandoned:
                done[count, 0], done[count, 1] = n, (IS_CLEARED if is_cleared else IS_ABANDONED)
                count += 1
        if speed_over < np.inf and track[SPED] == 0:
            if roster_floats[rows[n], FIT + SPEED] <= speed_over:
                track[FAST] = -1
            elif track[FAST] < 0:
                track[FAST] = now
            if track[FAST] >= 0 and now - track[FAST] >= hold:
                track[SPED] = 1
                done[count, 0], done[count, 1] = n, IS_SPEEDING
                count += 1
    return done[:count]


@compiled
def _rest(track: Ints, at: Floats, x: float, y: float, reach: float, now: int, hold: int) -> tuple[bool, bool]:
    """Whether a track that has been told to be still begins to go from where it rests, and whether it has gone."""
    told = track[STOPPED] == 1 or track[ABANDONED] == 1
    if track[RESTS] < 0:
        track[RESTS], at[0], at[1] = now, x, y
        return False, False
    if np.hypot(x - at[0], y - at[1]) <= reach:
        track[AWAY] = -1
        return False, False
    goes = track[AWAY] < 0
    if goes:
        track[AWAY] = now
    has_gone = now - track[AWAY] >= hold
    if has_gone:
        track[RESTS], track[AWAY], at[0], at[1] = now, -1, x, y
        track[STOPPED] = track[ABANDONED] = 0
    return goes and told, has_gone and told


@compiled
def _is_near(
    n: int, points: Points, rows: NDArray[np.int64], boxes: NDArray[np.float32], height: int,
    owners: NDArray[np.bool_], within: float, roster_ints: Ints,
) -> bool:  # fmt: skip
    for other in range(len(rows)):
        if other != n and owners[roster_ints[rows[other], TOP]]:
            away = np.hypot(points[other, 0] - points[n, 0], points[other, 1] - points[n, 1])
            if away <= within * (boxes[other, 3] - boxes[other, 1]) / height:
                return True
    return False


@compiled
def _owned(track: Ints, near: bool, now: int, after: int) -> tuple[bool, bool]:
    """Whether an abandoned object's owner is back, and whether an object is abandoned."""
    if near:
        if track[NEAR] < 0 or now - track[NEAR] > OWNER_HIDDEN_NS:
            track[NEAR_FROM] = now
        track[NEAR] = now
        if now - track[NEAR_FROM] < OWNER_STAYS_NS:
            return False, False
        was = track[ABANDONED] == 1
        track[OWNED], track[ABANDONED] = now, 0
        return was, False
    alone = now - max(track[RESTS], track[OWNED])
    if track[ABANDONED] == 1 or track[AWAY] >= 0 or alone < after:
        return False, False
    track[ABANDONED] = 1
    return False, True
