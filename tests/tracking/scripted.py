"""Tracks that walk as scripted, through a stream's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import av
import numpy as np

from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.events import CountReport, Event
from tracking.lifecycle import Lifecycle
from tracking.rules.config import GroundConfig, LineConfig, ZoneConfig
from tracking.rules.lasting import Lasting
from tracking.tracks import Tracks

WIDTH, HEIGHT = 160, 90
IMAGE = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
NAMES = ("person", "car", "backpack")
LOST_AFTER_S = 1.0
MIDDLE = ZoneConfig(polygon=[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)], hold=0.3)
WHOLE = ZoneConfig(polygon=[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
ACROSS = LineConfig(start=(0.2, 0.5), end=(0.8, 0.5), hold=0.3)  # from left to right: right of it is below

Path = Callable[[float], tuple[float, float] | None]
"""Where an object's feet are at a time in seconds, as fractions of the picture; None: it is not seen."""


def walk(*points: tuple[float, float, float]) -> Path:
    """Straight from point to point: t, x, y; unseen before the first and after the last."""

    def path(t: float) -> tuple[float, float] | None:
        if not points[0][0] <= t <= points[-1][0]:
            return None
        times, xs, ys = zip(*points, strict=True)
        return float(np.interp(t, times, xs)), float(np.interp(t, times, ys))

    return path


@dataclass
class Script:
    """One session of objects 4 pixels wide and 9 high, on a picture of 160 by 90.

    Attributes:
        fps: frames a second.
        classes: of tracks, by id; or `seen_as`, by id and time.
        kept: whether the frame at a time is there, or was dropped.
        detected: whether anybody looked for objects at a time; elsewhere tracks coast on their paths, or, with
            `held`, stay where they were detected last.
    """

    zones: Mapping[str, ZoneConfig] = field(default_factory=dict)
    lines: Mapping[str, LineConfig] = field(default_factory=dict)
    ground: GroundConfig | None = None
    lasting: Lasting | None = None
    updates_s: float | None = None
    fps: float = 25.0
    session: int = 1
    classes: Mapping[int, int] = field(default_factory=dict)
    seen_as: Callable[[int, float], int] | None = None
    kept: Callable[[float], bool] = lambda t: True
    detected: Callable[[float], bool] = lambda t: True
    held: bool = False
    began_s: float = 0.0
    size: tuple[int, int] = (4, 9)
    reports: list[CountReport] = field(default_factory=list)

    def play(self, paths: Mapping[int, Path], seconds: float) -> list[Event]:
        events = self.until(paths, seconds)
        return events + self.followed.finish()

    def until(self, paths: Mapping[int, Path], seconds: float) -> list[Event]:
        """As `play`, with the tracks left alive."""
        self.followed = Lifecycle(
            "gate", self.session, LOST_AFTER_S, NAMES, self.zones, self.lines, self.ground, self.lasting, self.updates_s
        )
        events: list[Event] = []
        last: dict[int, tuple[float, float]] = {}
        for seq in range(int(seconds * self.fps)):
            t = seq / self.fps
            if not self.kept(t):
                continue
            looks = self.detected(t)
            places = {track_id: path(t) for track_id, path in paths.items()}
            seen = {one: place for one, place in places.items() if place is not None}
            if not looks and self.held:
                seen = {one: last[one] for one in seen if one in last}
            if looks:
                last = dict(seen)
            events += self.followed.update(self._frame(seq, t), self._tracks(seen, looks, t))
            self.reports += self.followed.reports()
        return events

    def _frame(self, seq: int, t: float) -> Frame:
        captured_at = round((self.began_s + t) * NS)
        return Frame("gate", self.session, seq, round(t * NS), 0, captured_at, Clock.ARRIVAL, None, IMAGE)

    def _tracks(self, seen: Mapping[int, tuple[float, float]], looks: bool, t: float) -> Tracks:
        width, height = self.size
        boxes = [[x * WIDTH - width / 2, y * HEIGHT - height, x * WIDTH + width / 2, y * HEIGHT]
                 for x, y in seen.values()]  # fmt: skip
        count = len(seen)
        return Tracks(
            np.array(list(seen), np.int64),
            np.array(boxes, np.float32).reshape(-1, 4),
            np.full(count, 0.9, np.float32),
            np.array([self.seen_as(one, t) if self.seen_as else self.classes.get(one, 0) for one in seen], np.int32),
            np.arange(count, dtype=np.int32) if looks else np.full(count, -1, np.int32),
        )


def of_rules(events: Sequence[Event]) -> list[tuple[str, int, str | None]]:
    return [(event.type.value, event.track_id, event.direction) for event in events if event.place]


THROUGH = walk((0, 0.5, 0.05), (4, 0.5, 0.95))  # from above the zone, over the line in its middle, to below
