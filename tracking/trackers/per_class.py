"""A tracker for each class of objects: a track's boxes are all of one class, and classes do not compete for boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.detections import Detections
from ingest.frame import Frame
from tracking.trackers import Tracker
from tracking.tracks import Tracks

# Frames without objects after which no tracker is at its beginning.
UNEVENTFUL = 100


@dataclass(slots=True)
class _Class:
    """Attributes:
    tracker: of this class only.
    found_ns: when an object of the class was last found, media time.
    ids: our ids by the tracker's.
    shown_ns: when a track was last told, by the tracker's id.
    """

    tracker: Tracker
    found_ns: int
    ids: dict[int, int] = field(default_factory=dict)
    shown_ns: dict[int, int] = field(default_factory=dict)


class PerClass:
    """Ids count from 1 over all classes. `new` makes a tracker, which forgets tracks after `lost_after_ns`."""

    def __init__(self, new: Callable[[], Tracker], lost_after_ns: int) -> None:
        self._new = new
        self._lost_after_ns = lost_after_ns
        self._classes: dict[int, _Class] = {}
        self._last_id = self._frames = 0
        self._now: int | None = None

    def update(self, detections: Detections, frame: Frame) -> Tracks:
        self._now = frame.pts_ns
        oldest = frame.pts_ns - self._lost_after_ns
        self._classes = {number: one for number, one in self._classes.items() if one.found_ns >= oldest}
        for number in np.unique(detections.class_ids).tolist():
            if number not in self._classes:
                self._classes[number] = _Class(self._begun(frame), frame.pts_ns)
            self._classes[number].found_ns = frame.pts_ns
        self._frames += 1
        told = []
        for number, one in self._classes.items():
            rows = np.flatnonzero(detections.class_ids == number)
            tracks = one.tracker.update(_only(detections, rows), frame)
            ids = self._told(one, tracks.track_ids.tolist(), oldest)
            found = tracks.detection_rows.copy()
            found[found >= 0] = rows[found[found >= 0]]
            told.append(Tracks(ids, tracks.boxes, tracks.scores, tracks.class_ids, found))
        return _together(told)

    def coast(self, frame: Frame) -> Tracks:
        return _together([self._known(one, one.tracker.coast(frame)) for one in self._classes.values()])

    def hold(self, frame: Frame) -> Tracks:
        if self._now is not None:
            for one in self._classes.values():
                one.found_ns += frame.pts_ns - self._now
                one.shown_ns = {track: shown + frame.pts_ns - self._now for track, shown in one.shown_ns.items()}
        self._now = frame.pts_ns
        return _together([self._known(one, one.tracker.hold(frame)) for one in self._classes.values()])

    def _begun(self, frame: Frame) -> Tracker:
        """A tracker, which has seen what there was before: trackers trust the first frames of all without waiting."""
        tracker = self._new()
        for _ in range(min(self._frames, UNEVENTFUL)):
            tracker.update(Detections.empty(), frame)
        return tracker

    def _told(self, one: _Class, tracks: list[int], oldest: int) -> NDArray[np.int64]:
        """Our ids of the tracks that one of the trackers tells now; forgets those that it did not tell for long."""
        assert self._now is not None
        for track in [track for track, shown in one.shown_ns.items() if shown < oldest]:
            del one.ids[track], one.shown_ns[track]
        for track in tracks:
            if track not in one.ids:
                self._last_id += 1
                one.ids[track] = self._last_id
            one.shown_ns[track] = self._now
        return np.array([one.ids[track] for track in tracks], np.int64)

    def _known(self, one: _Class, tracks: Tracks) -> Tracks:
        ids = np.array([one.ids[track] for track in tracks.track_ids.tolist()], np.int64)
        return Tracks(ids, tracks.boxes, tracks.scores, tracks.class_ids, tracks.detection_rows)


def _only(detections: Detections, rows: NDArray[np.intp]) -> Detections:
    features = None if detections.features is None else detections.features[rows]
    return Detections(detections.boxes[rows], detections.scores[rows], detections.class_ids[rows], features=features)


def _together(parts: list[Tracks]) -> Tracks:
    if not parts:
        return Tracks.empty()
    return Tracks(
        *(np.concatenate([getattr(part, name) for part in parts])
          for name in ("track_ids", "boxes", "scores", "class_ids", "detection_rows"))
    )  # fmt: skip
