"""ByteTrack (Zhang et al., 2022): two rounds of IoU matching, strong boxes first, then weak ones for known tracks.

Computed on arrays of all tracks at once rather than an object per track, and by media time rather than by counting
frames: frames that were dropped or skipped neither shorten a track's life nor mislead its motion. At a steady full rate
its tracks are those of BoxMOT's ByteTrack on the same boxes.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from inference.detections import Detections
from tracking import motion
from tracking.association import assign, iou
from tracking.config import TrackerConfig
from tracking.motion import HEIGHT, VELOCITY, Rows
from tracking.tracks import Tracks

# The reference implementation's: cost limits (1 - IoU) for weak boxes and for tracks seen only once.
WEAK_LIMIT = 0.5
NEW_LIMIT = 0.7
# A lost track that overlaps a present one by more than this is the same object; the younger one goes.
DUPLICATE_IOU = 0.85


class State(IntEnum):
    """`NEW` tracks were seen in one frame only and have no id yet."""

    NEW = 0
    TRACKED = 1
    LOST = 2


class ByteTracker:
    """Ids count from 1 in each tracker; a track that was unseen for longer than `lost_after` never comes back."""

    def __init__(self, config: TrackerConfig, frame_rate: float) -> None:
        self._config = config
        self._interval_ns = 1e9 / frame_rate
        # Seen in one frame and in the next is not lost, however slow the stream is.
        self._lost_after_ns = round(max(config.lost_after * 1e9, 1.5 * self._interval_ns))
        self._now: int | None = None
        self._last_id = 0
        # The tracks: row n of each of these is one track.
        self._motion = motion.start(np.zeros((0, 4)))
        self._ids = np.zeros(0, np.int64)
        self._states = np.zeros(0, np.int8)
        self._began = np.zeros(0, np.int64)
        self._seen = np.zeros(0, np.int64)

    def update(self, detections: Detections, pts_ns: int) -> Tracks:
        first = self._now is None
        elapsed = 0.0 if self._now is None else (pts_ns - self._now) / self._interval_ns
        self._now = pts_ns
        self._keep(pts_ns - self._seen <= self._lost_after_ns)
        boxes, scores = detections.boxes.astype(np.float64), detections.scores
        strong = np.flatnonzero(scores >= self._config.high_confidence)
        weak = np.flatnonzero((scores > self._config.low_confidence) & (scores < self._config.high_confidence))
        rows = np.full(len(self._ids), -1, np.int32)  # the box of each track

        known = np.flatnonzero(self._states != State.NEW)
        self._motion[self._states == State.LOST, VELOCITY, HEIGHT] = 0
        motion.predict(self._motion, known, elapsed)
        predicted = motion.boxes_of(self._motion)

        strong = self._match(rows, known, strong, predicted, boxes, scores, self._config.match_threshold)
        unseen = np.flatnonzero((self._states == State.TRACKED) & (rows < 0))
        self._match(rows, unseen, weak, predicted, boxes, None, WEAK_LIMIT)
        new = np.flatnonzero(self._states == State.NEW)
        strong = self._match(rows, new, strong, predicted, boxes, scores, NEW_LIMIT)

        matched = np.flatnonzero(rows >= 0)
        motion.correct(self._motion, matched, boxes[rows[matched]])
        self._seen[matched] = pts_ns
        self._states[matched] = State.TRACKED
        self._states[(rows < 0) & (self._states == State.TRACKED)] = State.LOST
        vanished = (self._states == State.NEW) & (rows < 0)
        if vanished.any():
            rows = rows[~vanished]
            self._keep(~vanished)
        rows = self._begin(rows, strong, boxes[strong], pts_ns, State.TRACKED if first else State.NEW)
        rows = self._without_duplicates(rows)
        return self._report(rows, detections)

    def _match(
        self, rows: NDArray[np.int32], tracks: Rows, found: Rows, predicted: NDArray[np.float64],
        boxes: NDArray[np.float64], scores: NDArray[np.float32] | None, limit: float,
    ) -> Rows:  # fmt: skip
        """Gives `tracks` their boxes among `found` by entering them in `rows`; returns the boxes left over."""
        if not len(tracks) or not len(found):
            return found
        likeness = iou(predicted[tracks], boxes[found])
        if scores is not None:
            likeness *= scores[found]
        ours, theirs = assign(1 - likeness, limit)
        rows[tracks[ours]] = found[theirs]
        return np.delete(found, theirs)

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        if not kept.all():
            self._motion = self._motion[kept]
            self._ids, self._states = self._ids[kept], self._states[kept]
            self._began, self._seen = self._began[kept], self._seen[kept]

    def _begin(
        self, rows: NDArray[np.int32], found: Rows, boxes: NDArray[np.float64], pts_ns: int, state: State
    ) -> NDArray[np.int32]:
        """Starts tracks at the boxes `found`."""
        if not len(found):
            return rows
        count = len(found)
        self._motion = np.concatenate([self._motion, motion.start(boxes)])
        self._ids = np.concatenate([self._ids, np.zeros(count, np.int64)])
        self._states = np.concatenate([self._states, np.full(count, state, np.int8)])
        self._began = np.concatenate([self._began, np.full(count, pts_ns)])
        self._seen = np.concatenate([self._seen, np.full(count, pts_ns)])
        return np.concatenate([rows, found.astype(np.int32)])

    def _without_duplicates(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        lost = np.flatnonzero(self._states == State.LOST)
        if not len(lost):
            return rows
        present = np.flatnonzero(self._states != State.LOST)
        boxes = motion.boxes_of(self._motion)
        a, b = np.nonzero(iou(boxes[present], boxes[lost]) > DUPLICATE_IOU)
        if not len(a):
            return rows
        age = self._seen - self._began
        kept = np.ones(len(rows), bool)
        kept[np.where(age[present[a]] > age[lost[b]], lost[b], present[a])] = False
        self._keep(kept)
        return rows[kept]

    def _report(self, rows: NDArray[np.int32], detections: Detections) -> Tracks:
        shown = np.flatnonzero(self._states == State.TRACKED)
        if not len(shown):
            return Tracks.empty()
        nameless = shown[self._ids[shown] == 0]
        self._ids[nameless] = self._last_id + 1 + np.arange(len(nameless))
        self._last_id += len(nameless)
        seen_in = rows[shown]
        return Tracks(
            track_ids=self._ids[shown],
            boxes=motion.boxes_of(self._motion[shown]).astype(np.float32),
            scores=detections.scores[seen_in],
            class_ids=detections.class_ids[seen_in],
            detection_rows=seen_in,
        )
