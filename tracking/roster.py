"""The tracks that are alive: what is known of each so far, a row each in arrays that compiled code goes over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS, Clock
from ingest.compiled import compiled
from tracking.path import MOST_KEPT, add_point, thinned
from tracking.rules.happening import Box, Moment, Sighting
from tracking.speed import FITTED, forget, observe_place
from tracking.tracks import Tracks

# Columns of a track's whole numbers: its id (0: the row is free), when it was there last, frames it was detected in,
# class it was detected as most often, points of its path; then the frames of its first and last sighting and of its
# best picture, each as the columns of a moment.
ID, PRESENT, FRAMES, TOP, POINTS = range(5)
FIRST, LAST, BEST = 5, 12, 19
INTS = 26
# Columns of a moment: those of `Moment`, with -1 for an uncertainty that nobody knows and the clock's place in CLOCKS.
SEQ, PTS, CAPTURED, CLOCK, UNCERTAINTY, WIDTH, HEIGHT = range(7)
CLOCKS = tuple(Clock)

# Columns of a track's real numbers: highest score, quality and score of its best picture, distance gone; then its box
# where it was seen last and in its best picture, where it was when the distance was last added to, and what
# `tracking.speed` has fitted.
CONFIDENCE, QUALITY, BEST_SCORE, DISTANCE = range(4)
BOX, BEST_BOX, PLACE = 4, 8, 12
FIT = 14
FLOATS = FIT + FITTED

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """The N tracks seen in a frame: detected, or held where they were.

    Attributes:
        ids: their track ids.
        rows: int64 [N], where the roster has them.
        boxes: float32 [N, 4], xyxy in source-frame pixels.
        unseen_s: float64 [N], seconds since each was last seen; 0 for a new one.
        started: the ids of those that are new.
        lost: the ids of those that have been away for too long; not among the N.
    """

    ids: list[int]
    rows: NDArray[np.int64]
    boxes: NDArray[np.float32]
    unseen_s: NDArray[np.float64]
    started: list[int]
    lost: list[int]

    def sighting(self, n: int, now: Moment) -> Sighting:
        return Sighting(now, self.box(n))

    def box(self, n: int) -> Box:
        x1, y1, x2, y2 = self.boxes[n].tolist()
        return x1, y1, x2, y2


class BestNow(NamedTuple):
    """A track that was never seen better than in the latest frame.

    Attributes:
        quality: grows with how sure, large, central and whole the view is.
        box: xyxy in source-frame pixels.
    """

    track_id: int
    quality: float
    box: Box


class Roster:
    """Knows the tracks of one session.

    A track is new when it is first detected. Later it is seen where it is detected, or held exactly where it was seen;
    one that coasts elsewhere is there, so that it is not lost, but nobody has seen it.
    """

    def __init__(self, classes: int, lost_after_ns: int, ground: NDArray[np.float64]) -> None:
        """`classes` is how many the model has; `ground` a `tracking.rules.ground.Homography`."""
        self._lost_after_ns = lost_after_ns
        self.ground = ground
        self._rows: dict[int, int] = {}
        self._free: list[int] = []
        self._key: tuple[bytes, NDArray[np.int64]] | None = None
        self.ints: Ints = np.zeros((0, INTS), np.int64)
        self.floats: Floats = np.zeros((0, FLOATS))
        self._seen_as = np.zeros((0, classes, 2))  # frames, and sum of scores
        self._paths = np.zeros((0, MOST_KEPT, 3))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, track_id: int) -> bool:
        return track_id in self._rows

    @property
    def ids(self) -> list[int]:
        return list(self._rows)

    @property
    def capacity(self) -> int:
        """Rows are below it."""
        return len(self.ints)

    def row(self, track_id: int) -> int:
        return self._rows[track_id]

    def update(self, now: Moment, tracks: Tracks) -> Seen:
        """Takes what a frame shows."""
        rows, started = self._rows_of(tracks)
        boxes = np.array(tracks.boxes, np.float32, order="C")
        uncertainty = -1 if now.uncertainty_ns is None else now.uncertainty_ns
        moment = np.array((now.seq, now.pts_ns, now.captured_at, CLOCKS.index(now.clock), uncertainty, now.width,
                           now.height), np.int64)  # fmt: skip
        seen, unseen_s, lost, full = _observe(
            boxes, np.array(tracks.scores, np.float32), np.array(tracks.class_ids, np.int32),
            np.array(tracks.detection_rows, np.int32), rows, moment, self.ground, self._lost_after_ns,
            self.ints, self.floats, self._seen_as, self._paths,
        )  # fmt: skip
        for row in full.tolist():
            self._thin(row)
        ids = tracks.track_ids.tolist()
        if not seen.all():
            kept = np.flatnonzero(seen)
            ids = [ids[n] for n in kept.tolist()]
            rows, boxes, unseen_s = rows[kept], boxes[kept], unseen_s[kept]
        return Seen(ids, rows, boxes, unseen_s, started, lost.tolist())

    def remove(self, track_id: int) -> None:
        row = self._rows.pop(track_id)
        self.ints[row, ID] = 0
        self._free.append(row)
        self._key = None

    # -- what is known of a track

    def first(self, track_id: int) -> Moment:
        return self._moment(track_id, FIRST)

    def last(self, track_id: int) -> Sighting:
        return Sighting(self._moment(track_id, LAST), self._box(track_id, BOX))

    def best(self, track_id: int) -> Sighting:
        return Sighting(self._moment(track_id, BEST), self._box(track_id, BEST_BOX))

    def best_now(self, seq: int) -> list[BestNow]:
        """The tracks whose best view so far is the frame of that number, the latest."""
        rows = np.flatnonzero((self.ints[:, BEST + SEQ] == seq) & (self.ints[:, ID] != 0) & (self.ints[:, FRAMES] != 0))
        return [
            BestNow(track_id, quality, (x1, y1, x2, y2))
            for track_id, quality, (x1, y1, x2, y2) in zip(
                self.ints[rows, ID].tolist(), self.floats[rows, QUALITY].tolist(),
                self.floats[rows, BEST_BOX : BEST_BOX + 4].tolist(), strict=True,
            )
        ]  # fmt: skip

    def top_class(self, track_id: int) -> int:
        """The class that it was detected as most often; of several, the one that was so first."""
        return int(self.ints[self._rows[track_id], TOP])

    def class_confidence(self, track_id: int) -> float:
        """The mean score of the frames in which it was detected as that class."""
        row = self._rows[track_id]
        frames, scores = self._seen_as[row, self.ints[row, TOP]].tolist()
        return float(scores / max(frames, 1.0))

    def frames(self, track_id: int) -> int:
        return int(self.ints[self._rows[track_id], FRAMES])

    def number(self, track_id: int, column: int) -> float:
        """One of its real numbers."""
        return float(self.floats[self._rows[track_id], column])

    def path(self, track_id: int) -> NDArray[np.float64]:
        """Where it was, thinned out: float64 [N, 3], seconds of media time, and x and y as fractions of the frame."""
        row = self._rows[track_id]
        return self._paths[row, : self.ints[row, POINTS]].copy()

    def _moment(self, track_id: int, first: int) -> Moment:
        row = self._rows[track_id]
        seq, pts, captured, clock, uncertainty, width, height = self.ints[row, first : first + 7].tolist()
        return Moment(seq, pts, captured, CLOCKS[clock], None if uncertainty < 0 else uncertainty, width, height)

    def _box(self, track_id: int, first: int) -> Box:
        x1, y1, x2, y2 = self.floats[self._rows[track_id], first : first + 4].tolist()
        return x1, y1, x2, y2

    # -- rows

    def _rows_of(self, tracks: Tracks) -> tuple[NDArray[np.int64], list[int]]:
        """The rows of tracks, -1 where one has none and is not detected; and the ids of those that are new."""
        key = tracks.track_ids.tobytes()
        if self._key is not None and self._key[0] == key:
            return self._key[1], []
        rows, started = [], []
        for track_id, detected in zip(tracks.track_ids.tolist(), tracks.detection_rows.tolist(), strict=True):
            row = self._rows.get(track_id, -1)
            if row < 0 <= detected:
                row = self._rows[track_id] = self._begin(track_id)
                started.append(track_id)
            rows.append(row)
        found = np.array(rows, np.int64)
        self._key = (key, found) if -1 not in rows else None
        return found, started

    def _begin(self, track_id: int) -> int:
        if not self._free:
            more = max(16, self.capacity)
            self._free = list(range(self.capacity + more - 1, self.capacity - 1, -1))
            self.ints, self.floats, self._seen_as, self._paths = (
                np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
                for array in (self.ints, self.floats, self._seen_as, self._paths)
            )
        row = self._free.pop()
        for array in (self.ints, self.floats, self._seen_as):
            array[row] = 0
        self.ints[row, ID] = track_id
        return row

    def _thin(self, row: int) -> None:
        width, height = self.ints[row, [LAST + WIDTH, LAST + HEIGHT]].tolist()
        kept = thinned(self._paths[row], MOST_KEPT // 2, width / height)
        self._paths[row, : len(kept)] = kept
        self.ints[row, POINTS] = len(kept)


@compiled
def _observe(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.int32],
    detected: NDArray[np.int32], rows: NDArray[np.int64], moment: NDArray[np.int64], ground: NDArray[np.float64],
    lost_after: int, ints: Ints, floats: Floats, seen_as: Floats, paths: Floats,
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Enters what a frame shows; gives which tracks were seen, seconds since they were seen before, the ids of those
    that are lost, and the rows whose path is full."""
    now, width, height = moment[PTS], moment[WIDTH], moment[HEIGHT]
    seen, unseen = np.zeros(len(rows), np.bool_), np.zeros(len(rows))
    full = np.empty(len(rows), np.int64)
    fulls = 0
    for n in range(len(rows)):
        row = rows[n]
        if row < 0:
            continue
        track, real, box = ints[row], floats[row], boxes[n]
        is_new = track[FRAMES] == 0
        track[PRESENT] = now
        if detected[n] >= 0:
            _count(track, real, seen_as[row], class_ids[n], scores[n])
            _keep_best(track, real, box, scores[n], moment)
        elif not (
            box[0] == real[BOX] and box[1] == real[BOX + 1] and box[2] == real[BOX + 2] and box[3] == real[BOX + 3]
        ):
            continue
        seen[n] = True
        if is_new:
            _copy(moment, track[FIRST:])
            forget(real[FIT:])
            real[PLACE] = np.nan
        else:
            unseen[n] = (now - track[LAST + PTS]) / NS
        _copy(moment, track[LAST:])
        _copy(box, real[BOX:])
        x, y = (box[0] + box[2]) / 2 / width, box[3] / height
        px, py, known = _place(x, y, width / height, ground)
        cut = box[0] < 1 or box[1] < 1 or box[2] > width - 1 or box[3] > height - 1
        if known and not cut:
            observe_place(real[FIT:], px, py, now / NS)
        if add_point(paths[row], track[POINTS], now / NS, x, y, width / height):
            if known:
                if not np.isnan(real[PLACE]):
                    real[DISTANCE] += np.hypot(px - real[PLACE], py - real[PLACE + 1])
                real[PLACE], real[PLACE + 1] = px, py
            track[POINTS] += 1
            if track[POINTS] == MOST_KEPT:
                full[fulls] = row
                fulls += 1
    lost = np.empty(len(ints), np.int64)
    losts = 0
    for row in range(len(ints)):
        if ints[row, ID] != 0 and now - ints[row, PRESENT] > lost_after:
            lost[losts] = ints[row, ID]
            losts += 1
    return seen, unseen, lost[:losts], full[:fulls]


@compiled
def _count(track: Ints, real: Floats, seen_as: Floats, class_id: int, score: float) -> None:
    track[FRAMES] += 1
    real[CONFIDENCE] = max(real[CONFIDENCE], score)
    if 0 <= class_id < len(seen_as):
        seen_as[class_id, 0] += 1
        seen_as[class_id, 1] += score
        if seen_as[class_id, 0] > seen_as[track[TOP], 0]:
            track[TOP] = class_id


@compiled
def _keep_best(track: Ints, real: Floats, box: NDArray[np.float32], score: float, moment: Ints) -> None:
    """Keeps this picture of it if it is the best so far: sure, large, central, and not cut off by the border."""
    width, height = moment[WIDTH], moment[HEIGHT]
    area = max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) / (width * height)
    off = max(abs(box[0] + box[2] - width) / width, abs(box[1] + box[3] - height) / height)
    quality = score * np.sqrt(area) * (1 - 0.5 * min(off, 1.0))
    if box[0] < 1 or box[1] < 1 or box[2] > width - 1 or box[3] > height - 1:
        quality /= 2
    if quality > real[QUALITY] or track[FRAMES] == 1:
        real[QUALITY], real[BEST_SCORE] = quality, score
        _copy(box, real[BEST_BOX:])
        _copy(moment, track[BEST:])


@compiled
def _copy(values: NDArray[Any], into: NDArray[Any]) -> None:
    """As an assignment to a slice, which Numba takes seconds to compile."""
    for n in range(len(values)):
        into[n] = values[n]


@compiled
def _place(x: float, y: float, aspect: float, ground: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Where a point of the picture is: in metres where the ground is known, else in picture heights, y upwards; and
    whether that is anywhere."""
    if ground[2, 2] == 0 and ground[2, 0] == 0 and ground[2, 1] == 0:
        return x * aspect, -y, True
    w = ground[2, 0] * x + ground[2, 1] * y + ground[2, 2]
    if w <= 0:
        return 0.0, 0.0, False
    return (
        (ground[0, 0] * x + ground[0, 1] * y + ground[0, 2]) / w,
        (ground[1, 0] * x + ground[1, 1] * y + ground[1, 2]) / w,
        True,
    )
