"""All rules of one stream, applied to the tracks of one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracking.events import EndReason
from tracking.roster import Roster, Seen
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.rules.geometry import Points, anchors
from tracking.rules.happening import Happening, Moment, Sighting
from tracking.rules.line import Line
from tracking.rules.zone import Zone


class Rules:
    """`classes` are the model's; an object is of the one that it was seen as most often."""

    def __init__(
        self, zones: Mapping[str, ZoneConfig], lines: Mapping[str, LineConfig], classes: Sequence[str], roster: Roster
    ) -> None:
        self.zones = [Zone(name, config, classes, roster) for name, config in zones.items()]
        self._all: list[Zone | Line] = [
            *self.zones, *(Line(name, config, classes, roster) for name, config in lines.items())
        ]  # fmt: skip

    def update(self, now: Moment, seen: Seen) -> list[Happening]:
        """What the tracks seen in this frame do."""
        points: dict[str, Points] = {}
        told: list[Happening] = []
        for rule in self._all:
            if rule.anchor not in points:
                points[rule.anchor] = anchors(seen.boxes, rule.anchor, now.width, now.height)
            told += rule.update(now, seen, points[rule.anchor])
        return told

    def ended(self, track_id: int, row: int, last: Sighting, reason: EndReason) -> list[Happening]:
        """What the end of a track, which had this row in the roster, brings with it."""
        return [told for rule in self._all for told in rule.ended(track_id, row, last, reason)]
