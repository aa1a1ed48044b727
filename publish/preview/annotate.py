"""Draws what was seen on a picture for viewers: zones, lines, where tracks came from, boxes and labels.

On the picture as viewers get it, so that lines are as thin and words as large on every camera. OpenCV draws: why not
supervision is told in docs/decisions.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from publish.media.jpeg import COLOURS
from publish.schema import FrameResult, ObjectSeen
from tracking.rules.config import LineConfig, ZoneConfig

Picture = NDArray[np.uint8]
# Where a track was in the last so many pictures; it is forgotten when it was not seen in so many.
TRACE, FORGOTTEN_AFTER = 30, 15
ZONE, LINE, WORDS = (0, 215, 255), (255, 191, 0), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
# The height of pictures on which a line is one pixel wide and text has OpenCV's size 0.4, pixels.
UNIT_PX = 540


@dataclass(frozen=True, slots=True)
class Rules:
    """A stream's zones and lines, in parts of the picture's width and height."""

    zones: Mapping[str, ZoneConfig] = field(default_factory=dict)
    lines: Mapping[str, LineConfig] = field(default_factory=dict)


@dataclass(slots=True)
class _Trace:
    points: deque[tuple[int, int]]
    unseen: int = 0


class Annotator:
    """Of one stream and one session, in one thread at a time: it remembers where tracks were."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._traces: dict[int, _Trace] = {}

    def annotate(self, picture: Picture, result: FrameResult | None) -> None:
        """Draws on the picture, uint8 [height, width, 3] BGR, what was seen in the frame of which it is, whatever its
        size; None: nothing."""
        height, width = picture.shape[:2]
        unit = max(1, round(min(height, width) / UNIT_PX))
        self._draw_rules(picture, unit)
        objects = result.objects if result is not None else ()
        scale = (width / result.frame.width, height / result.frame.height) if result is not None else (1.0, 1.0)
        boxes = [_scaled(one, scale) for one in objects]
        self._draw_traces(picture, objects, boxes, unit)
        for one, box in zip(objects, boxes, strict=True):
            cv2.rectangle(picture, box[:2], box[2:], _colour(one), 2 * unit)
        for one, box in zip(objects, boxes, strict=True):
            _label(picture, one, box, unit)

    def _draw_rules(self, picture: Picture, unit: int) -> None:
        height, width = picture.shape[:2]
        for name, zone in self._rules.zones.items():
            corners = np.rint(np.array(zone.polygon) * (width, height)).astype(np.int32)
            cv2.polylines(picture, [corners], True, ZONE, unit, cv2.LINE_AA)
            _words(picture, name, tuple(corners[corners[:, 1].argmin()].tolist()), ZONE, unit)
        for name, line in self._rules.lines.items():
            start, end = ((round(x * width), round(y * height)) for x, y in (line.start, line.end))
            cv2.line(picture, start, end, LINE, 2 * unit, cv2.LINE_AA)
            _words(picture, name, start, LINE, unit)

    def _draw_traces(
        self, picture: Picture, objects: Sequence[ObjectSeen], boxes: Sequence[Sequence[int]], unit: int
    ) -> None:
        for trace in self._traces.values():
            trace.unseen += 1
        for one, (x1, _, x2, y2) in zip(objects, boxes, strict=True):
            if one.track_id is None:
                continue
            trace = self._traces.setdefault(one.track_id, _Trace(deque(maxlen=TRACE)))
            trace.points.append(((x1 + x2) // 2, y2))
            trace.unseen = 0
            if len(trace.points) > 1:
                points = np.array(trace.points, np.int32)
                cv2.polylines(picture, [points], False, _colour(one), unit, cv2.LINE_AA)
        self._traces = {track: trace for track, trace in self._traces.items() if trace.unseen <= FORGOTTEN_AFTER}


def _scaled(one: ObjectSeen, scale: tuple[float, float]) -> tuple[int, int, int, int]:
    """Its box in the picture's pixels."""
    x1, y1, x2, y2 = one.box
    return round(x1 * scale[0]), round(y1 * scale[1]), round(x2 * scale[0]), round(y2 * scale[1])


def _colour(one: ObjectSeen) -> tuple[int, int, int]:
    number = one.track_id if one.track_id is not None else one.class_id
    return COLOURS[number % len(COLOURS)]


def _label(picture: Picture, one: ObjectSeen, box: Sequence[int], unit: int) -> None:
    words = one.class_name if one.track_id is None else f"{one.class_name} {one.track_id}"
    (width, height), below = cv2.getTextSize(words, FONT, 0.4 * unit, unit)
    left, bottom = max(0, box[0]), max(box[1], height + below)
    cv2.rectangle(picture, (left, bottom - height - below), (left + width, bottom), _colour(one), cv2.FILLED)
    _put(picture, words, (left, bottom - below // 2), WORDS, unit)


def _words(picture: Picture, words: str, at: Sequence[int], colour: tuple[int, int, int], unit: int) -> None:
    """Next to a point, and within the picture."""
    (width, height), below = cv2.getTextSize(words, FONT, 0.4 * unit, unit)
    left = min(max(0, at[0] + 4 * unit), max(0, picture.shape[1] - width))
    _put(picture, words, (left, max(height + below, at[1] - 4 * unit)), colour, unit)


def _put(picture: Picture, words: str, at: tuple[int, int], colour: tuple[int, int, int], unit: int) -> None:
    canvas: Any = picture
    cv2.putText(canvas, words, at, FONT, 0.4 * unit, colour, unit, cv2.LINE_AA)
