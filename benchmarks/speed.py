"""How right speeds in metres are: PETS09-S2L1, whose ground truth has everyone's place on the ground, in metres.

`python -m benchmarks.speed`

From pairs of a place in the picture and one on the ground comes the ground's homography, and from that the four points
that a user would measure. True speeds are slopes of the true places over half a second either way. Compared with them
are Vigil's, of the true boxes and of what YOLOv8n and ByteTrack make of the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.attention import Recording, Video
from benchmarks.clips import data_folder
from benchmarks.harness import save
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.lifecycle import Lifecycle
from tracking.rules.config import GroundConfig
from tracking.trackers import new_tracker
from tracking.tracks import Tracks

SEQUENCE, WIDTH, HEIGHT, RATE = "PETS09-S2L1", 768, 576, 7.0
# Where the four points are: within where people walk, as fractions of the picture.
CORNERS = np.array([[0.2, 0.35], [0.75, 0.35], [0.9, 0.85], [0.1, 0.85]])
HALF_WINDOW = 4  # frames
LEAST_IOU = 0.5
WALKS_MPS = 0.5

Truth = dict[int, NDArray[np.float64]]
"""By frame from 0: [N, 7] of id, box xyxy in pixels, place on the ground in metres."""


def truth() -> Truth:
    rows = np.loadtxt(data_folder() / "mot" / "MOT15" / SEQUENCE / "gt" / "gt.txt", delimiter=",")
    rows = np.column_stack([rows[:, 0], rows[:, 1], rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6], rows[:, 7:9]])
    return {int(number) - 1: rows[rows[:, 0] == number, 1:] for number in np.unique(rows[:, 0])}


def ground(known: Truth) -> tuple[GroundConfig, float]:
    """Four points, and how far the homography that they are from is off at the feet, metres (median)."""
    rows = np.concatenate(list(known.values()))
    feet = np.column_stack([(rows[:, 1] + rows[:, 3]) / 2 / WIDTH, rows[:, 4] / HEIGHT, np.ones(len(rows))])
    x, y = rows[:, 5], rows[:, 6]
    zeros = np.zeros_like(feet)
    equations = np.concatenate([
        np.hstack([feet, zeros, -x[:, None] * feet]), np.hstack([zeros, feet, -y[:, None] * feet])
    ])  # fmt: skip
    found = np.linalg.svd(equations)[2][-1].reshape(3, 3)

    def there(points: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = points @ found.T
        return np.asarray(scaled[:, :2] / scaled[:, 2:])

    off = np.hypot(*(there(feet) - rows[:, 5:7]).T)
    metres = there(np.column_stack([CORNERS, np.ones(4)]))
    return GroundConfig.model_validate({"picture": CORNERS.tolist(), "metres": metres.tolist()}), float(np.median(off))


def true_speeds(known: Truth) -> dict[tuple[int, int], tuple[float, float]]:
    """Speed, m/s, and heading, degrees clockwise from the ground's y, by frame and true id."""
    places = {(n, int(row[0])): row[5:7] for n, rows in known.items() for row in rows}
    found = {}
    for n, identity in places:
        times = [t for t in range(n - HALF_WINDOW, n + HALF_WINDOW + 1) if (t, identity) in places]
        if len(times) == 2 * HALF_WINDOW + 1:
            path = np.array([places[t, identity] for t in times])
            across, up = np.polyfit(np.array(times) / RATE, path, 1)[0]
            found[n, identity] = float(np.hypot(across, up)), float(np.degrees(np.arctan2(across, up)) % 360)
    return found


def compare(name: str, known: Truth, seen: Iterator[tuple[Frame, Tracks]], points: GroundConfig) -> dict[str, float]:
    """Of those who walk: how much too fast they are told to be, and how far from the true heading."""
    lifecycle = Lifecycle("video", 1, 1.5, ("person",), {}, {}, points)
    speeds, pairs, turns = true_speeds(known), [], []
    for frame, tracks in seen:
        lifecycle.update(frame, tracks)
        motions = lifecycle.motions(tracks.track_ids) or []
        rows = known.get(frame.seq, np.zeros((0, 7)))
        for box, motion in zip(tracks.boxes, motions, strict=True):
            overlaps = [_iou(box, row[1:5]) for row in rows]
            if motion is None or not overlaps or max(overlaps) < LEAST_IOU:
                continue
            true = speeds.get((frame.seq, int(rows[int(np.argmax(overlaps)), 0])))
            if true is not None and true[0] >= WALKS_MPS:
                pairs.append((motion.speed, true[0]))
                if motion.heading is not None:
                    turns.append(abs((motion.heading - true[1] + 180) % 360 - 180))
    told, there = np.array(pairs).T
    off = told - there
    result = {
        "compared": len(pairs), "true_median_mps": float(np.median(there)), "told_median_mps": float(np.median(told)),
        "median_error_mps": float(np.median(np.abs(off))), "p90_error_mps": float(np.quantile(np.abs(off), 0.9)),
        "median_heading_error_degrees": float(np.median(turns)),
    }  # fmt: skip
    rounded = {what: round(value, 3) for what, value in result.items()}
    Console(width=140).print(name, rounded)
    return rounded


def of_true_boxes(known: Truth) -> Iterator[tuple[Frame, Tracks]]:
    blank = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for n, rows in sorted(known.items()):
        pts_ns = round(n * NS / RATE)
        frame = Frame("video", 1, n, pts_ns, pts_ns, pts_ns, Clock.ARRIVAL, None, blank)
        count = np.arange(len(rows), dtype=np.int32)
        yield frame, Tracks(
            rows[:, 0].astype(np.int64), rows[:, 1:5].astype(np.float32), np.ones(len(rows), np.float32),
            np.zeros(len(rows), np.int32), count,
        )  # fmt: skip


def of_the_video() -> Iterator[tuple[Frame, Tracks]]:
    video = Video(f"{SEQUENCE}.mp4", ["person"], {}, {})
    recording = Recording(video, data_folder() / "weights" / "yolov8n.pt", Path(__file__).parent / "out" / "attention")
    tracker = new_tracker(TrackerConfig(), RATE)
    for frame in recording.frames():
        yield frame, tracker.update(recording.detections(frame.seq), frame)


def _iou(a: NDArray[np.float32], b: NDArray[np.float64]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    return shared / float((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def main() -> None:
    known = truth()
    points, off = ground(known)
    Console().print(
        f"four points {points.picture} are {np.round(points.metres, 2).tolist()} m; feet are off by {off:.2f} m"
    )
    result = {
        "true boxes": compare("true boxes", known, of_true_boxes(known), points),
        "yolov8n, bytetrack": compare("yolov8n, bytetrack", known, of_the_video(), points),
    }
    Console().print(f"written to {save('speed', result)}")


if __name__ == "__main__":
    main()
