"""A track's mask, keypoints and corners are those of its own object, in whatever order a frame's objects come."""

from __future__ import annotations

import av
import numpy as np

from inference.detections import Detections
from inference.found import Found, Spans
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.model import ModelInfo
from ingest.clock import Clock
from ingest.frame import Frame
from publish.schema.composer import Composer
from tracking.config import TrackerConfig
from tracking.trackers import new_tracker

SIZE = 320
MODEL = ModelInfo("toy", "0" * 16, ("person",), "segment", InputSpec(), SIZE, "none", "cpu", "fp32")
# Height of each object's mask, by which it is known again.
HEIGHTS = {0: 10, 1: 20, 2: 30}


def seen(order: list[int], step: int) -> Found:
    """Objects 100 pixels apart that move to the right; object n's keypoint and corners are at its left upper corner."""
    left = np.array([20 + 100 * n + 2 * step for n in order], np.float32)
    rows = np.array([[x, 50, x + 40, 110, 0.9 - k / 10, 0] for k, x in enumerate(left)], np.float32)
    points = np.array([[[x, 50, 0.5]] for x in left], np.float32)
    corners = np.array([[[x, 50], [x + 40, 50], [x + 40, 110], [x, 110]] for x in left], np.float32)
    spans = np.array([[x, 50, 50 + HEIGHTS[n]] for n, x in zip(order, left, strict=True)], np.uint16)
    return Found(rows, points, corners, Spans(spans, np.arange(1, len(order) + 1, dtype=np.int32)))


def test_each_track_is_told_with_the_details_of_its_own_object() -> None:
    tracker = new_tracker(TrackerConfig(), 25.0)
    composer = Composer("hq", MODEL, "rev", 0.25)
    letterbox = Letterbox.fit(2 * SIZE, SIZE, SIZE)
    heights: dict[int, set[int]] = {}
    for step, order in enumerate([[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]]):
        pts_ns = step * 40_000_000
        detections = Detections.in_source(seen(order, step), letterbox)
        frame = Frame("gate", 1, step, pts_ns, 0, 0, Clock.ARRIVAL, None, av.VideoFrame(2 * SIZE, SIZE, "yuv420p"))
        tracks = tracker.update(detections, frame)
        for told in composer.frame_result(frame, detections, tracks, 0).objects:
            assert told.track_id is not None and told.mask is not None and told.keypoints and told.corners
            assert told.keypoints[0][:2] == told.corners[0] == told.box[:2]
            row = int(tracks.detection_rows[tracks.track_ids.tolist().index(told.track_id)])
            mask = detections.masks[row] if detections.masks else None
            assert mask is not None and told.mask.counts == mask.counts
            heights.setdefault(told.track_id, set()).add(int(mask.decode().any(axis=1).sum()))
    assert sorted(heights.values(), key=min) == [{2 * height} for height in HEIGHTS.values()]
