"""Loads and compiles a tracker before it is wanted."""

from __future__ import annotations

import av
import numpy as np

from inference.detections import Detections
from inference.found import Found
from inference.letterbox import Letterbox
from ingest.clock import Clock
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.trackers import new_tracker, wants_features


def warm_tracker(config: TrackerConfig) -> None:
    """Runs a tracker of the configured kind on a few frames; takes seconds where it was never compiled or imported."""
    tracker = new_tracker(config, 25.0)
    image = av.VideoFrame(32, 32, "yuv420p")
    for seq, count in enumerate((1, 2, 2, 2)):
        # Rows as they come from a detector: one is another type of array than several.
        rows = np.frombuffer(np.tile(np.array([0, 0, 9, 9, 1, 0], np.float32), count).tobytes(), np.float32)
        found = Detections.in_source(Found(rows.reshape(count, 6)), Letterbox.fit(32, 32, 32))
        if wants_features(config):
            features = np.full((count, 4), 0.5, np.float32)
            found = Detections(found.boxes, found.scores, found.class_ids, features=features)
        frame = Frame("", 0, seq, seq * 40_000_000, 0, 0, Clock.ARRIVAL, None, image)
        tracker.update(found, frame)
        tracker.coast(frame)
        tracker.hold(frame)
