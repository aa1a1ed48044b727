"""What a stream remembers over its sessions: counts in windows, and where objects spent their time."""

from __future__ import annotations

from collections.abc import Mapping

from tracking.events import CountType
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.rules.heat import HeatMap
from tracking.rules.tally import Tally
from tracking.rules.timeline import Timeline

HALF_LIFE_S = 3600.0


class Lasting:
    """Attributes:
    tallies: by what is counted, zones' entries or lines' crossings, and the place's name.
    """

    def __init__(
        self, zones: Mapping[str, ZoneConfig], lines: Mapping[str, LineConfig], half_life_s: float = HALF_LIFE_S
    ) -> None:
        self.timeline = Timeline()
        self.heat = HeatMap(half_life_s)
        self.tallies = {(CountType.ZONE_COUNTED, name): Tally(zone) for name, zone in zones.items()} | {
            (CountType.LINE_COUNTED, name): Tally(line) for name, line in lines.items()
        }
