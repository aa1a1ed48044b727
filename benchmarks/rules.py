"""What zones, lines and all else that is made of tracks cost in each frame.

`python -m benchmarks.rules`

Objects walk about in front of two zones and two lines at 25 frames a second. CPU time of `Lifecycle.update` is told:
all that comes after the tracker but messages, so rules, speeds, heat map, paths, best pictures, starts and ends.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.harness import save
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.lifecycle import Lifecycle
from tracking.rules.config import GroundConfig, LineConfig, ZoneConfig
from tracking.tracks import Tracks

FPS, FRAMES, WARM_UP = 25, 2000, 100
WIDTH, HEIGHT = 1920, 1080
NAMES = ("person", "car", "backpack")
LEFT, RIGHT = [(0.1, 0.2), (0.5, 0.3), (0.4, 0.9), (0.1, 0.8)], [(0.6, 0.5), (1.0, 0.5), (1.0, 1.0), (0.6, 1.0)]
LINES = {
    "across": LineConfig(start=(0.0, 0.6), end=(1.0, 0.6)),
    "down": LineConfig(start=(0.5, 0.0), end=(0.5, 1.0)),
}
GROUND = GroundConfig(
    picture=((0.2, 0.9), (0.8, 0.9), (0.6, 0.4), (0.4, 0.4)), metres=((0, 0), (6, 0), (6, 20), (0, 20))
)
EVERYTHING: dict[str, Any] = {
    "dwell": 5, "crowd": 8, "stopped": 10, "loiter": 20, "classes": ("car", "backpack"), "abandoned": 10,
    "speed_over": 5, "windows": (60, 900, 3600), "every": 60,
}  # fmt: skip


def walks(objects: int) -> Iterator[tuple[Frame, Tracks]]:
    """Objects that walk to and fro, each on a way of its own, with trembling boxes."""
    rng = np.random.default_rng(7)
    middle, reach = rng.uniform(0.2, 0.8, (objects, 2)), rng.uniform(0.0, 0.3, (objects, 2))
    pace, size = rng.uniform(0.05, 0.4, (objects, 2)), rng.uniform(30, 150, (objects, 1)) * (0.4, 1.0)
    image = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    ids, classes = np.arange(1, objects + 1, dtype=np.int64), rng.integers(0, len(NAMES), objects, np.int32)
    rows = np.arange(objects, dtype=np.int32)
    for seq in range(FRAMES):
        at = (middle + reach * np.sin(pace * seq / FPS * 2 * np.pi)).clip(0, 1) * (WIDTH, HEIGHT)
        at += rng.normal(0, 1.0, at.shape)
        boxes = np.concatenate([at - size * (0.5, 1.0), at + size * (0.5, 0.0)], axis=1).astype(np.float32)
        pts_ns = seq * NS // FPS
        frame = Frame("gate", 1, seq, pts_ns, pts_ns, pts_ns, Clock.ARRIVAL, None, image)
        yield frame, Tracks(ids, boxes, np.full(objects, 0.8, np.float32), classes, rows)


def measure(objects: int, settings: dict[str, Any], ground: GroundConfig | None) -> dict[str, Any]:
    zones = {name: ZoneConfig(polygon=polygon, **settings) for name, polygon in (("left", LEFT), ("right", RIGHT))}
    followed = Lifecycle("gate", 1, 1.5, NAMES, zones, LINES, ground)
    took, events = [], 0
    for frame, tracks in walks(objects):
        began = time.thread_time_ns()
        events += len(followed.update(frame, tracks))
        events += len(followed.reports())
        took.append((time.thread_time_ns() - began) / 1e6)
    took = sorted(took[WARM_UP:])
    return {
        "median_ms": round(statistics.median(took), 4),
        "p99_ms": round(took[len(took) * 99 // 100], 4),
        "events": events,
    }


def main() -> None:
    results = {}
    table = Table("objects", "zones", "median ms", "99% ms", "events")
    for objects in (10, 25, 100):
        for name, settings, ground in (("plain", {}, None), ("every rule, ground", EVERYTHING, GROUND)):
            row = results[f"{objects}, {name}"] = measure(objects, settings, ground)
            table.add_row(str(objects), name, *(str(value) for value in row.values()))
    Console(width=100).print(table)
    Console().print(f"written to {save('rules', results)}")


if __name__ == "__main__":
    main()
