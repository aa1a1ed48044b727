"""DeepSORT (Wojke, Bewley, Paulus: Simple online and realtime tracking with a deep association metric, 2017).

What is seen again is found by its looks among what its motion allows, tracks that were seen last come first (the
matching cascade); what is left of new tracks and of those seen in the last frame is matched by overlap. By media time
rather than by counting frames, as our ByteTrack is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.detections import Detections
from ingest.frame import Frame
from tracking.association import assign, distances
from tracking.config import TrackerConfig
from tracking.motion import boxes_of, correct, mahalanobis, predict, start
from tracking.trackers import lost_after_ns
from tracking.trackers.gallery import Features, Gallery
from tracking.tracks import Tracks

# The 0.95 quantile of the chi-square distribution with four degrees of freedom: what is further off is not the object.
GATE = 9.4877
# A cost at the limit is a match in the paper; `assign` wants less than its limit. As the authors' code has it.
AT_THE_LIMIT = 1e-5

Rows = NDArray[np.intp]


class DeepSort:
    """Ids count from 1 in each tracker; a track that was unseen for longer than `lost_after` never comes back.

    Without features the squared Mahalanobis distance takes the place of looks: the paper's weight of 1 for motion.
    """

    def __init__(self, config: TrackerConfig, frame_rate: float) -> None:
        self._own = config.deepsort
        self._least_score = config.high_confidence
        self._interval_ns = 1e9 / frame_rate
        self._lost_after_ns = lost_after_ns(config, frame_rate)
        self._now: int | None = None
        self._last_id = 0
        # Row n of each of these is one track: its motion, id (0 while it is not confirmed), in how many frames it was
        # seen, when last, and what it looks like.
        self._states = np.zeros((0, 5, 4))
        self._ids = np.zeros(0, np.int64)
        self._hits = np.zeros(0, np.int64)
        self._seen = np.zeros(0, np.int64)
        self._galleries: list[Gallery] = []
        self._shown = Tracks.empty()

    def update(self, detections: Detections, frame: Frame) -> Tracks:
        elapsed, before, now = self._elapsed(frame), self._now, frame.pts_ns
        self._now = now
        strong = np.flatnonzero(detections.scores >= self._least_score)
        boxes = detections.boxes[strong].astype(np.float64)
        looks = None if detections.features is None else detections.features[strong]
        self._keep(now - self._seen <= self._lost_after_ns)
        predict(self._states, np.arange(len(self._ids)), elapsed)

        box_of = np.full(len(self._ids), -1)  # of each track, among the strong ones
        self._match_looks(box_of, boxes, looks)
        self._match_overlaps(box_of, boxes, before)

        seen = np.flatnonzero(box_of >= 0)
        correct(self._states, seen, boxes[box_of[seen]])
        self._seen[seen] = now
        self._hits[seen] += 1
        if looks is not None:
            for track in seen:
                self._galleries[track].add(looks[box_of[track]])
        kept = (box_of >= 0) | (self._ids > 0)
        self._keep(kept)
        box_of = box_of[kept]

        free = np.setdiff1d(np.arange(len(boxes)), box_of, assume_unique=True)
        self._begin(boxes[free], None if looks is None else looks[free], now)
        box_of = np.concatenate([box_of, free])
        for track in np.flatnonzero((self._ids == 0) & (self._hits >= self._own.n_init)):
            self._last_id += 1
            self._ids[track] = self._last_id

        shown = np.flatnonzero((self._ids > 0) & (box_of >= 0))
        rows = strong[box_of[shown]].astype(np.int32)
        self._shown = Tracks(
            self._ids[shown], boxes_of(self._states[shown]).astype(np.float32), detections.scores[rows],
            detections.class_ids[rows], rows,
        )  # fmt: skip
        return self._shown

    def coast(self, frame: Frame) -> Tracks:
        states = self._states[np.isin(self._ids, self._shown.track_ids)]
        predict(states, np.arange(len(states)), self._elapsed(frame))
        return self._shown.moved_to(boxes_of(states).astype(np.float32))

    def hold(self, frame: Frame) -> Tracks:
        if self._now is not None:
            self._seen += frame.pts_ns - self._now
        self._now = frame.pts_ns
        return self._shown.moved_to(self._shown.boxes)

    def _elapsed(self, frame: Frame) -> float:
        """Nominal frame intervals since the last frame; 0: this is the first one."""
        return 0.0 if self._now is None else (frame.pts_ns - self._now) / self._interval_ns

    def _match_looks(self, box_of: Rows, boxes: NDArray[np.float64], looks: Features | None) -> None:
        """The matching cascade."""
        known = np.flatnonzero(self._ids)
        if not len(known) or not len(boxes):
            return
        off = mahalanobis(self._states[known], boxes)
        cost = np.where(off <= GATE, off, np.inf)
        limit = GATE
        if looks is not None:
            limit = self._own.max_cosine_distance
            for row, track in enumerate(known):
                near = np.flatnonzero(off[row] <= GATE)
                if len(near):
                    cost[row, near] = self._galleries[track].distances(looks[near])
        cost[cost > limit] = np.inf
        free = np.arange(len(boxes))
        for seen in np.unique(self._seen[known])[::-1]:
            level = np.flatnonzero(self._seen[known] == seen)
            _give(box_of, known[level], free, cost[np.ix_(level, free)], limit)
            free = np.setdiff1d(free, box_of)

    def _match_overlaps(self, box_of: Rows, boxes: NDArray[np.float64], before: int | None) -> None:
        """New tracks, and those that were seen in the last frame, `before`, by their overlap with free boxes."""
        tracks = np.flatnonzero((box_of < 0) & ((self._ids == 0) | (self._seen == before)))
        free = np.setdiff1d(np.arange(len(boxes)), box_of)
        if len(tracks) and len(free):
            limit = self._own.max_iou_distance
            cost = distances(boxes_of(self._states[tracks]), boxes[free])
            cost[cost > limit] = np.inf
            _give(box_of, tracks, free, cost, limit)

    def _keep(self, which: NDArray[np.bool_]) -> None:
        if which.all():
            return
        self._states, self._ids = self._states[which], self._ids[which]
        self._hits, self._seen = self._hits[which], self._seen[which]
        self._galleries = [gallery for gallery, kept in zip(self._galleries, which, strict=True) if kept]

    def _begin(self, boxes: NDArray[np.float64], looks: Features | None, now: int) -> None:
        if not len(boxes):
            return
        count = len(boxes)
        self._states = np.concatenate([self._states, start(boxes)])
        self._ids = np.concatenate([self._ids, np.zeros(count, np.int64)])
        self._hits = np.concatenate([self._hits, np.ones(count, np.int64)])
        self._seen = np.concatenate([self._seen, np.full(count, now, np.int64)])
        galleries = [Gallery(self._own.nn_budget) for _ in range(count)]
        for gallery, look in zip(galleries, looks if looks is not None else (), strict=False):
            gallery.add(look)
        self._galleries += galleries


def _give(box_of: Rows, tracks: Rows, free: Rows, cost: NDArray[np.float64], limit: float) -> None:
    """Gives `tracks` [N] boxes among the `free` ones [M], by `cost` [N, M], infinite where it must not be."""
    for track, column in zip(tracks, assign(np.ascontiguousarray(cost), limit + AT_THE_LIMIT), strict=True):
        if column >= 0:
            box_of[track] = free[column]
