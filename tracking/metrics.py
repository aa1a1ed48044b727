"""What tracking measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge


class TrackingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.active = Gauge("vigil_tracks_active", "Tracks that started and have not ended.", ["stream"],
                            registry=registry)  # fmt: skip
