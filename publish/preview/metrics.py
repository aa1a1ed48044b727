"""What workers measure of the pictures that viewers get, and the preview process of the viewers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class PreviewMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.frames = Counter(
            "vigil_preview_frames",
            "Pictures for viewers by what became of them: forwarded as the camera sent them; encoded; dropped_busy (a "
            "newer one came before it could be drawn on), dropped_link (viewers' process does not keep up); failed.",
            ["stream", "outcome"],
            registry=registry,
        )
        self.cpu_seconds = Counter(
            "vigil_preview_cpu_seconds",
            "CPU seconds that pictures with burned-in boxes took to be made small, drawn on and encoded.",
            ["stream"],
            registry=registry,
        )


class AudienceMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.viewers = Gauge("vigil_preview_viewers", "Who watches now.", ["stream", "overlay"], registry=registry)
        self.sessions = Counter(
            "vigil_preview_sessions", "Viewers that were answered.", ["stream", "overlay"], registry=registry
        )
        self.bytes = Counter("vigil_preview_bytes", "Sent to viewers, as packets.", ["stream"], registry=registry)
        self.packets_lost = Counter(
            "vigil_preview_packets_lost", "Packets that this machine's sockets did not take.", ["stream"],
            registry=registry,
        )  # fmt: skip
        self.packets_resent = Counter(
            "vigil_preview_packets_resent", "Packets that viewers had lost and were sent again.", ["stream"],
            registry=registry,
        )  # fmt: skip
        self.bitrate = Gauge(
            "vigil_preview_bitrate", "Bits a second that the encoder of burned-in boxes aims at.", ["stream"],
            registry=registry,
        )  # fmt: skip
