"""What tracking costs: milliseconds of CPU per frame, one thread, by tracker and number of objects.

`python -m benchmarks.trackers_cost [--frames 150]`

Objects walk about in 1080p, each missed in one frame of ten; looks are 128 numbers. Beside each tracker BoxMOT's own,
called directly, where it has that one, and Ultralytics' ByteTrack. Medians over the frames after the first fifty.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in the service

import av
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.harness import save
from inference.detections import Detections
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import APPEARANCE, TrackerConfig
from tracking.trackers import TRACKERS, new_tracker
from tracking.trackers.boxmot import KINDS, load_class

RATE = 25
OBJECTS = (10, 25, 100)
WARM = 50
LOOK = 128
IMAGE = av.VideoFrame(64, 48, "yuv420p")

Update = Callable[[Detections, Frame], object]


def scene(objects: int, frames: int) -> list[Detections]:
    """What a detector would see of people who walk about."""
    rng = np.random.default_rng(7)
    places, speeds = rng.uniform((0, 0), (1850, 900), (objects, 2)), rng.normal(0, 3, (objects, 2))
    heights = rng.uniform(60, 160, (objects, 1))
    looks = rng.normal(0, 1, (objects, LOOK))
    told = []
    for _ in range(frames):
        speeds[(places < 0) & (speeds < 0)] *= -1
        speeds[(places > (1850, 900)) & (speeds > 0)] *= -1
        places = places + speeds
        there = rng.random(objects) > 0.1
        corners = places + rng.normal(0, 1.5, places.shape)
        boxes = np.hstack([corners, corners + np.hstack([heights * 0.4, heights])])[there].astype(np.float32)
        look = (looks + rng.normal(0, 0.4, looks.shape))[there]
        look /= np.linalg.norm(look, axis=1, keepdims=True)
        scores = rng.uniform(0.3, 0.95, len(boxes)).astype(np.float32)
        told.append(Detections(boxes, scores, np.zeros(len(boxes), np.int32), features=look.astype(np.float32)))
    return told


def ours(kind: str) -> Update:
    return new_tracker(TrackerConfig(kind=kind), RATE).update


def boxmot_bytetrack() -> Update:
    new = load_class("boxmot.trackers.box.bytetrack.tracker:ByteTrack")
    tracker = new(min_conf=0.1, track_thresh=0.4, match_thresh=0.8, track_buffer=37, frame_rate=30)
    return lambda found, _: tracker.update(np.column_stack([found.boxes, found.scores, found.class_ids]))


def boxmot(kind: str, looks: bool) -> Update:
    """BoxMOT's by its public face; looks come as from a ReID model that costs nothing."""
    model = SimpleNamespace(features=None, get_features=lambda *_: model.features)
    reid = {"reid_model": model} if looks else {}
    tracker = load_class(KINDS[kind].path)(max_age=37, **KINDS[kind].settings(TrackerConfig(kind=kind), looks), **reid)
    tracker.cmc = None
    picture = np.zeros((8, 8, 3), np.uint8)

    def update(found: Detections, _: Frame) -> None:
        model.features = found.features
        tracker.update(np.column_stack([found.boxes, found.scores, found.class_ids]), picture)

    return update


def ultralytics_bytetrack() -> Update:
    from ultralytics.engine.results import Boxes
    from ultralytics.trackers.byte_tracker import BYTETracker

    tracker = BYTETracker(
        SimpleNamespace(
            track_high_thresh=0.4, track_low_thresh=0.1, new_track_thresh=0.4, track_buffer=37, match_thresh=0.8,
            fuse_score=True,
        ),
    )  # fmt: skip

    def update(found: Detections, _: Frame) -> None:
        rows: NDArray[np.float32] = np.column_stack([found.boxes, found.scores, found.class_ids])
        tracker.update(Boxes(rows.astype(np.float32), (1080, 1920)))

    return update


def median_ms(update: Update, path: list[Detections]) -> float:
    took = []
    for n, found in enumerate(path):
        frame = Frame("", 1, n, n * NS // RATE, 0, 0, Clock.ARRIVAL, None, IMAGE)
        began = time.thread_time()
        update(found, frame)
        took.append(time.thread_time() - began)
    return 1000 * statistics.median(took[WARM:])


def main(frames: Annotated[int, typer.Option(min=WARM + 10, help="Frames of each scene.")] = 150) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows: list[tuple[str, bool, str, Callable[[], Update]]] = [
        ("bytetrack", False, "Ultralytics", ultralytics_bytetrack),
        ("bytetrack", False, "BoxMOT", boxmot_bytetrack),
    ]
    for kind in TRACKERS:
        for looks in (False, True) if kind in APPEARANCE else (False,):
            rows.append((kind, looks, "Vigil", lambda kind=kind: ours(kind)))
            if kind in KINDS and (looks or kind != "strongsort"):  # which BoxMOT has with looks only
                rows.append((kind, looks, "BoxMOT", lambda kind=kind, looks=looks: boxmot(kind, looks)))
    scenes = {objects: scene(objects, frames) for objects in OBJECTS}
    result: dict[str, dict[str, Any]] = {}
    table = Table("tracker", "looks", "by", *(f"{objects} objects" for objects in OBJECTS), title="ms per frame")
    for kind, looks, by, new in track(rows, description="trackers", transient=True):
        costs = {}
        for objects, path in scenes.items():
            seen = path if looks else [Detections(one.boxes, one.scores, one.class_ids) for one in path]
            costs[objects] = median_ms(new(), seen)
        result[f"{kind}{' with looks' if looks else ''}, {by}"] = costs
        table.add_row(kind, "yes" if looks else "", by, *(f"{cost:.2f}" for cost in costs.values()))
    Console().print(table)
    save("trackers_cost", result)


if __name__ == "__main__":
    typer.run(main)
