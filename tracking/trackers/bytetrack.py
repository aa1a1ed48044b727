"""ByteTrack, from BoxMOT: two rounds of IoU matching, strong boxes first, then weak ones for known tracks."""

from __future__ import annotations

import logging

import numpy as np
from boxmot import ByteTrack
from numpy.typing import NDArray

from inference.detections import Detections
from tracking.config import TrackerConfig
from tracking.tracks import Tracks

# BoxMOT announces the parameters of every tracker it makes.
logging.getLogger("boxmot").setLevel(logging.WARNING)

# BoxMOT counts its buffer in frames of a 30 fps video and scales it by the real rate.
BOXMOT_RATE = 30


class ByteTracker:
    """Ids are this tracker's own, from 1, and one that was unseen for longer than `lost_after` never comes back.

    BoxMOT's own ids do: it counts frames, and frames that were dropped or skipped make its buffer last longer.
    """

    def __init__(self, config: TrackerConfig, frame_rate: float) -> None:
        self._tracker = ByteTrack(
            min_conf=config.low_confidence,
            track_thresh=config.high_confidence,
            match_thresh=config.match_threshold,
            track_buffer=max(1, round(config.lost_after * BOXMOT_RATE)),
            frame_rate=max(1, round(frame_rate)),
        )
        self._lost_after_ns = round(config.lost_after * 1e9)
        self._last_id = 0
        self._known: dict[int, tuple[int, int]] = {}  # BoxMOT's id -> our id, last seen at

    def update(self, detections: Detections, pts_ns: int) -> Tracks:
        rows = np.column_stack([detections.boxes, detections.scores, detections.class_ids]).astype(np.float32)
        found = self._tracker.update(rows)
        # BoxMOT remembers every track it ever removed; it needs only those of the current frame.
        self._tracker.removed_stracks.clear()
        self._known = {k: v for k, v in self._known.items() if pts_ns - v[1] <= self._lost_after_ns}
        if not len(found):
            return Tracks.empty()
        return Tracks(
            track_ids=self._own_ids(found[:, 4], pts_ns),
            boxes=found[:, :4].astype(np.float32),
            scores=found[:, 5].astype(np.float32),
            class_ids=found[:, 6].astype(np.int32),
            detection_rows=found[:, 7].astype(np.int32),
        )

    def _own_ids(self, boxmot_ids: NDArray[np.float64], pts_ns: int) -> NDArray[np.int64]:
        ids = []
        for boxmot_id in boxmot_ids.astype(int).tolist():
            if boxmot_id not in self._known:
                self._last_id += 1
                self._known[boxmot_id] = (self._last_id, pts_ns)
            own_id = self._known[boxmot_id][0]
            self._known[boxmot_id] = (own_id, pts_ns)
            ids.append(own_id)
        return np.array(ids, np.int64)
