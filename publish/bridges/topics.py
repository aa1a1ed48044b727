"""What stands on a site's MQTT topics, and what Home Assistant is told of them. Pure: values in, topics out.

| topic                                | payload                                          | retained |
|--------------------------------------|--------------------------------------------------|----------|
| `<prefix>/available`                 | `online` or `offline`                            | yes      |
| `<prefix>/<stream>/state`            | `live`, `stalled`, …                             | yes      |
| `<prefix>/<stream>/<class>`          | how many are in the picture; `all`: of any class | yes      |
| `<prefix>/<stream>/<zone>/<class>`   | how many are in the zone                         | yes      |
| `<prefix>/<stream>/events/<type>`    | the event's JSON                                 | no       |

`<prefix>/available` and the counts of a picture are where Frigate's users look for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.reconnect import StreamState
from publish.bridges.contract import Scene
from publish.bridges.presence import ALL, Place

ONLINE, OFFLINE = "online", "offline"
# States in which what is counted is what is there.
SEEING = (StreamState.LIVE.value, StreamState.STALLED.value)
# Counts and states are published again within that, and Home Assistant does not believe older ones.
REFRESH_S = 100.0
EXPIRE_S = 300
_NOT_IN_LEVELS = re.compile(r"[/+#\s\x00-\x1f]")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Topics:
    prefix: str

    @property
    def available(self) -> str:
        return f"{self.prefix}/available"

    def state(self, stream: str) -> str:
        return f"{self.prefix}/{stream}/state"

    def count(self, stream: str, place: Place) -> str:
        zone, what = place
        return "/".join([self.prefix, stream, *([zone] if zone else []), _NOT_IN_LEVELS.sub("_", what)])

    def event(self, stream: str, kind: str) -> str:
        return f"{self.prefix}/{stream}/events/{kind}"


def places(scene: Scene, known: Iterable[Place], classes: list[str] | None, zones: list[str] | None) -> list[Place]:
    """The places and classes of a stream whose counts are told: those of the config, and those that were seen.

    `classes` and `zones` are the only ones wanted, if not None.
    """
    there = {zone: scene.zones[zone] for zone in scene.zones if zones is None or zone in zones}
    named = [(None, what) for what in scene.classes] + [
        (zone, what) for zone, own in there.items() for what in own or scene.classes
    ]
    found = {place for place in [*named, *known] if classes is None or place[1] in classes}
    found |= {(place, ALL) for place in (None, *there)} | {(None, what) for what in classes or ()}
    return sorted(
        (place for place in found if place[0] is None or place[0] in there), key=lambda at: (at[0] or "", at[1])
    )


def counts(told: Iterable[Place], there: Mapping[Place, int]) -> dict[Place, int]:
    """How many there are of each that is told; of all classes, those that are told."""
    told = list(told)
    found = {place: there.get(place, 0) for place in told if place[1] != ALL}
    for zone, what in told:
        if what == ALL:
            wanted = [place for place in there if place[0] == zone and (place in found)]
            found[zone, ALL] = sum(there[place] for place in wanted)
    return found


def discovery_topic(prefix: str, site: str, stream: str) -> str:
    return f"{prefix}/device/vigil_{site}_{stream}/config"


def device(topics: Topics, site: str, stream: str, told: Iterable[Place], version: str) -> dict[str, Any]:
    """A camera as a device of Home Assistant (2024.11 or newer): https://www.home-assistant.io/integrations/mqtt/"""
    identity = f"vigil_{site}_{stream}"
    bridge = {"topic": topics.available}
    seeing = {
        "topic": topics.state(stream),
        "value_template": f"{{{{ '{ONLINE}' if value in {list(SEEING)} else '{OFFLINE}' }}}}",
    }
    components: dict[str, Any] = {
        "state": {
            "platform": "sensor", "name": "State", "unique_id": f"{identity}_state", "device_class": "enum",
            "options": [state.value for state in StreamState], "entity_category": "diagnostic",
            "state_topic": topics.state(stream), "availability": [bridge],
        }
    }  # fmt: skip
    for zone, what in told:
        name = f"{zone} {what}" if zone else what.capitalize()
        key = _NOT_IN_IDS.sub("_", f"{zone}__{what}" if zone else what)
        shared = {
            "state_topic": topics.count(stream, (zone, what)), "availability": [bridge, seeing],
            "availability_mode": "all", "expire_after": EXPIRE_S,
        }  # fmt: skip
        components[f"{key}_occupancy"] = {
            "platform": "binary_sensor", "name": f"{name} occupancy", "unique_id": f"{identity}_{key}_occupancy",
            "device_class": "occupancy", "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}", **shared,
        }  # fmt: skip
        components[f"{key}_count"] = {
            "platform": "sensor", "name": f"{name} count", "unique_id": f"{identity}_{key}_count",
            "state_class": "measurement", **shared,
        }  # fmt: skip
    return {
        "device": {"identifiers": [identity], "name": stream, "manufacturer": "Vigil", "sw_version": version},
        "origin": {"name": "Vigil", "sw_version": version},
        "qos": 1,
        "components": components,
    }


def without(before: str | None, after: Mapping[str, Any]) -> dict[str, Any] | None:
    """What must be told first, for Home Assistant to forget the components that are no more; None: nothing.

    A component that is told with its platform alone is removed.
    """
    if before is None:
        return None
    old, new = json.loads(before)["components"], after["components"]
    gone = {key: {"platform": component["platform"]} for key, component in old.items() if key not in new}
    return {**after, "components": {**new, **gone}} if gone else None
