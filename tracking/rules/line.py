"""Who crosses a line, and to which side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tracking.events import EndReason, EventType
from tracking.rules.config import LineConfig
from tracking.rules.geometry import Points, anchors, in_heights, meets, right_of
from tracking.rules.happening import Box, Happening, Moment, Sighting
from tracking.tracks import Tracks


@dataclass(slots=True)
class _Walker:
    """Where a track was last clearly on one side, and the crossing it has made but not yet held."""

    point: Points
    on_right: bool
    crossed: Sighting | None = None
    to_right: bool = False


class Line:
    """One line of one session. `wanted` says whether a track is of a class that the line asks for.

    A crossing is a way through the line itself, not around its ends, from clearly on one side to clearly on the other,
    where the track then stays for `hold`. Going back before that undoes it.
    """

    def __init__(self, name: str, config: LineConfig, wanted: Callable[[int], bool]) -> None:
        self.name = name
        self._config = config
        self._wanted = wanted
        self._hold_ns = round(config.hold * 1e9)
        self._walkers: dict[int, _Walker] = {}
        self._numbers: Counter[int] = Counter()
        self._size: tuple[int, int] | None = None
        self._line: Points

    def update(self, now: Moment, tracks: Tracks, boxes: Sequence[Box]) -> list[Happening]:
        """The crossings that are certain in this frame; `boxes` are those of `tracks`."""
        if self._size != (now.width, now.height):
            self._size = now.width, now.height
            self._line = in_heights((self._config.start, self._config.end), now.width, now.height)
            self._walkers.clear()
        told: list[Happening] = []
        points = anchors(tracks.boxes, self._config.anchor, now.height)
        sides = right_of(points, self._line)
        for track_id, box, point, side in zip(tracks.track_ids.tolist(), boxes, points, sides.tolist(), strict=True):
            walker = self._walkers.get(track_id)
            if abs(side) > self._config.margin:
                if walker is None:
                    walker = self._walkers[track_id] = _Walker(point, side > 0)
                elif walker.on_right != (side > 0):
                    self._turn(walker, point, Sighting(now, box))
                walker.point = point
            if walker is not None and walker.crossed and now.pts_ns - walker.crossed.at.pts_ns >= self._hold_ns:
                told += self._tell(track_id, walker)
        return told

    def _turn(self, walker: _Walker, point: Points, seen: Sighting) -> None:
        walker.on_right = not walker.on_right
        if not meets(np.asarray(walker.point), np.asarray(point), self._line):
            return
        if walker.crossed is None:
            walker.crossed, walker.to_right = seen, walker.on_right
        elif walker.to_right != walker.on_right:
            walker.crossed = None

    def ended(self, track_id: int, last: Sighting, reason: EndReason) -> list[Happening]:
        """The track is no more: a crossing that it did not undo counts."""
        del last, reason
        walker = self._walkers.pop(track_id, None)
        told = self._tell(track_id, walker) if walker is not None and walker.crossed else []
        self._numbers.pop(track_id, None)
        return told

    def _tell(self, track_id: int, walker: _Walker) -> list[Happening]:
        assert walker.crossed is not None
        crossed, walker.crossed = walker.crossed, None
        if not self._wanted(track_id):
            return []
        self._numbers[track_id] += 1
        direction = "right" if walker.to_right else "left"
        return [Happening(
            EventType.LINE_CROSSED, track_id, self.name, crossed, self._numbers[track_id], direction=direction
        )]  # fmt: skip
