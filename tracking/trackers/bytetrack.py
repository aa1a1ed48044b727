"""ByteTrack (Zhang et al., 2022): two rounds of IoU matching, strong boxes first, then weak ones for known tracks.

Compiled, on arrays of all tracks rather than an object per track, and by media time rather than by counting
frames: frames that were dropped or skipped neither shorten a track's life nor mislead its motion. At a steady full rate
its tracks are those of BoxMOT's ByteTrack on the same boxes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.detections import Detections
from ingest.compiled import compiled
from ingest.frame import Frame
from tracking.association import assign, iou
from tracking.config import TrackerConfig
from tracking.motion import HEIGHT, VELOCITY, Boxes, Rows, States, boxes_of, correct, predict, start
from tracking.tracks import Tracks

# The reference implementation's: cost limits (1 - IoU) for weak boxes and for tracks seen only once.
WEAK_LIMIT = 0.5
NEW_LIMIT = 0.7
# A lost track that overlaps a present one by more than this is the same object; the younger one goes.
DUPLICATE_IOU = 0.85


# A track's columns: its id (0 while it has none), its state, and when it began and was last seen, ns of media time.
ID, STATE, BEGAN, SEEN = range(4)
# States. New tracks were seen in one frame only.
NEW, TRACKED, LOST = range(3)

Table = NDArray[np.int64]


class ByteTracker:
    """Ids count from 1 in each tracker; a track that was unseen for longer than `lost_after` never comes back."""

    def __init__(self, config: TrackerConfig, frame_rate: float) -> None:
        self._limits = (config.high_confidence, config.low_confidence, config.match_threshold)
        self._interval_ns = 1e9 / frame_rate
        # Seen in one frame and in the next is not lost, however slow the stream is.
        self._lost_after_ns = round(max(config.lost_after * 1e9, 1.5 * self._interval_ns))
        self._now: int | None = None
        self._last_id = 0
        # Row n of each of these is one track.
        self._states = np.zeros((0, 5, 4))
        self._table: Table = np.zeros((0, 4), np.int64)
        self._shown = Tracks.empty()

    def update(self, detections: Detections, frame: Frame) -> Tracks:
        elapsed = self._elapsed(frame)
        self._now = frame.pts_ns
        self._states, self._table, self._last_id, ids, boxes, rows = _update(
            self._states, self._table, self._last_id, detections.boxes, detections.scores, elapsed, frame.pts_ns,
            self._lost_after_ns, self._limits,
        )  # fmt: skip
        self._shown = Tracks(ids, boxes, detections.scores[rows], detections.class_ids[rows], rows)
        return self._shown

    def coast(self, frame: Frame) -> Tracks:
        states = self._states[self._table[:, STATE] == TRACKED]
        predict(states, np.arange(len(states)), max(0.0, self._elapsed(frame)))
        return self._shown.moved_to(boxes_of(states).astype(np.float32))

    def hold(self, frame: Frame) -> Tracks:
        if self._now is not None:
            self._table[:, [BEGAN, SEEN]] += frame.pts_ns - self._now
        self._now = frame.pts_ns
        return self._shown.moved_to(self._shown.boxes)

    def _elapsed(self, frame: Frame) -> float:
        """Nominal frame intervals since the last frame; negative: this is the first one."""
        return -1.0 if self._now is None else (frame.pts_ns - self._now) / self._interval_ns


@compiled
def _update(
    states: States, table: Table, last_id: int, found: NDArray[np.float32], scores: NDArray[np.float32],
    elapsed: float, now: int, lost_after: int, limits: tuple[float, float, float],
) -> tuple[States, Table, int, NDArray[np.int64], NDArray[np.float32], NDArray[np.int32]]:  # fmt: skip
    """One frame: the tracks after it, the last id given, and of the tracks seen in it ids, boxes and detection rows.

    `elapsed` is in nominal frame intervals; negative: this is the first frame.
    """
    high, low, match_threshold = limits
    boxes = found.astype(np.float64)
    fresh = np.flatnonzero(now - table[:, SEEN] <= lost_after)
    states, table = states[fresh], table[fresh]
    rows = np.full(len(table), -1, np.int32)  # the box of each track
    strong, weak = scores >= high, (scores > low) & (scores < high)

    known = np.flatnonzero(table[:, STATE] != NEW)
    for track in np.flatnonzero(table[:, STATE] == LOST):
        states[track, VELOCITY, HEIGHT] = 0
    predict(states, known, elapsed)
    predicted = boxes_of(states)

    _match(rows, known, strong, predicted, boxes, scores, match_threshold)
    unseen = np.flatnonzero((table[:, STATE] == TRACKED) & (rows < 0))
    _match(rows, unseen, weak, predicted, boxes, np.ones_like(scores), WEAK_LIMIT)
    new = np.flatnonzero(table[:, STATE] == NEW)
    _match(rows, new, strong, predicted, boxes, scores, NEW_LIMIT)

    matched = np.flatnonzero(rows >= 0)
    correct(states, matched, boxes[rows[matched]])
    table[matched, SEEN] = now
    for n in range(len(table)):
        if rows[n] >= 0:
            table[n, STATE] = TRACKED
        elif table[n, STATE] == TRACKED:
            table[n, STATE] = LOST

    kept = np.flatnonzero((table[:, STATE] != NEW) | (rows >= 0))
    started = np.flatnonzero(strong)  # strong boxes that are still free
    beginning = np.zeros((len(started), 4), np.int64)
    beginning[:, STATE] = TRACKED if elapsed < 0 else NEW
    beginning[:, BEGAN] = beginning[:, SEEN] = now
    states = np.concatenate((states[kept], start(boxes[started])))
    table = np.concatenate((table[kept], beginning))
    rows = np.concatenate((rows[kept], started.astype(np.int32)))

    kept = np.flatnonzero(~_duplicates(states, table))
    states, table, rows = states[kept], table[kept], rows[kept]
    shown = np.flatnonzero(table[:, STATE] == TRACKED)
    for track in shown:
        if table[track, ID] == 0:
            last_id += 1
            table[track, ID] = last_id
    return states, table, last_id, table[shown, ID], boxes_of(states[shown]).astype(np.float32), rows[shown]


@compiled
def _match(
    rows: NDArray[np.int32], tracks: Rows, free: NDArray[np.bool_], predicted: Boxes, boxes: Boxes,
    weights: NDArray[np.float32], limit: float,
) -> None:  # fmt: skip
    """Gives `tracks` boxes among the `free` ones: enters these in `rows`, and they are free no more."""
    candidates = np.flatnonzero(free)
    cost = np.empty((len(tracks), len(candidates)))
    for i, track in enumerate(tracks):
        for j, box in enumerate(candidates):
            cost[i, j] = 1 - iou(predicted[track], boxes[box]) * weights[box]
    for i, j in enumerate(assign(cost, limit)):
        if j >= 0:
            rows[tracks[i]] = candidates[j]
            free[candidates[j]] = False


@compiled
def _duplicates(states: States, table: Table) -> NDArray[np.bool_]:
    """Which tracks go, as an older one is the same object."""
    goes = np.zeros(len(table), np.bool_)
    boxes = boxes_of(states)
    ages = table[:, SEEN] - table[:, BEGAN]
    for lost in np.flatnonzero(table[:, STATE] == LOST):
        for present in np.flatnonzero(table[:, STATE] != LOST):
            if iou(boxes[present], boxes[lost]) > DUPLICATE_IOU:
                goes[lost if ages[present] > ages[lost] else present] = True
    return goes
