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
        self.zone_entries = Counter(
            "vigil_zone_entries", "Objects that entered a zone.", ["stream", "zone", "class"], registry=registry
        )
        self.line_window = Gauge(
            "vigil_line_crossings_window", "Objects that crossed a line in the last so many seconds.",
            ["stream", "line", "direction", "class", "window"], registry=registry,
        )  # fmt: skip
        self.zone_window = Gauge(
            "vigil_zone_entries_window", "Objects that entered a zone in the last so many seconds.",
            ["stream", "zone", "class", "window"], registry=registry,
        )  # fmt: skip
        self.reid_frames = Counter(
            "vigil_reid_frames", "Frames whose objects a ReID model was to tell apart, by what came of it: features, "
            "or none, as there was no time.", ["stream", "outcome"], registry=registry,
        )  # fmt: skip
        self.identity_looks = Counter(
            "vigil_identity_looks", "What tracks look like, sent to be compared across cameras, or postponed, as too "
            "much was waiting for an answer.", ["stream", "outcome"], registry=registry,
        )  # fmt: skip
