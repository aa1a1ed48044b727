"""What tracking measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class TrackingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.active = Gauge("vigil_tracks_active", "Tracks that started and have not ended.", ["stream"],
                            registry=registry)  # fmt: skip
        self.zone_objects = Gauge("vigil_zone_objects", "Objects in a zone.", ["stream", "zone"], registry=registry)
        self.line_crossings = Counter(
            "vigil_line_crossings", "Objects that crossed a line, by the side they went to.",
            ["stream", "line", "direction", "class"], registry=registry,
        )  # fmt: skip
