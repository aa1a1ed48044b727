"""All rules of one stream, applied to the tracks of one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tracking.events import EndReason
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.rules.happening import Box, Happening, Moment, Sighting
from tracking.rules.line import Line
from tracking.rules.zone import Zone
from tracking.tracks import Tracks


class Rules:
    """`class_of` says which class, by name, a track is of: the one it was seen as most often."""

    def __init__(
        self, zones: Mapping[str, ZoneConfig], lines: Mapping[str, LineConfig], class_of: Callable[[int], str]
    ) -> None:
        def wanted(classes: tuple[str, ...] | None) -> Callable[[int], bool]:
            return lambda track_id: classes is None or class_of(track_id) in classes

        self.zones = [Zone(name, config, wanted(config.classes)) for name, config in zones.items()]
        self._all: list[Zone | Line] = [
            *self.zones, *(Line(name, config, wanted(config.classes)) for name, config in lines.items())
        ]  # fmt: skip

    def update(self, now: Moment, tracks: Tracks, boxes: Sequence[Box]) -> list[Happening]:
        """What the tracks seen in this frame do; `boxes` are those of `tracks`."""
        return [told for rule in self._all for told in rule.update(now, tracks, boxes)]

    def ended(self, track_id: int, last: Sighting, reason: EndReason) -> list[Happening]:
        """What the end of a track brings with it."""
        return [told for rule in self._all for told in rule.ended(track_id, last, reason)]
