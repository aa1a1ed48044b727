"""What cameras see."""

from __future__ import annotations

from asking import increase, of, rate
from panels import Query, lines

OBJECTS = lines(
    "Objects in sight",
    "Tracks that have begun and not ended.",
    Query(f"sum({of('vigil_tracks_active')})", "tracks"),
)

CLASSES = lines(
    "Objects found, by class",
    "Objects in results, a second.",
    Query(rate(of("vigil_detections_total"), "class"), "{{class}}"),
    unit="cps",
)

EVENTS = lines(
    "Events",
    "Events a minute, by what happened.",
    Query(f"{rate(of('vigil_events_total'), 'type')} * 60", "{{type}}"),
    unit="cpm",
    stacked=True,
)

ZONES = lines(
    "In zones",
    "Objects in each zone now.",
    Query(f"sum by (zone) ({of('vigil_zone_objects')})", "{{zone}}"),
)

CROSSINGS = lines(
    "Line crossings",
    "In five minutes, by line and the side they went to.",
    Query(increase(of("vigil_line_crossings_total"), "line, direction", "5m"), "{{line}} to the {{direction}}"),
)

ENTRIES = lines(
    "Zone entries",
    "In five minutes, by zone and class.",
    Query(increase(of("vigil_zone_entries_total"), "zone, class", "5m"), "{{zone}}: {{class}}"),
)
