"""What bridges count."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class BridgeMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.delivered = Counter(
            "vigil_bridge_delivered", "Events that the peer has taken.", ["bridge"], registry=registry
        )
        self.failed = Counter(
            "vigil_bridge_failed", "Deliveries that failed, by why; most are tried again.", ["bridge", "reason"],
            registry=registry,
        )  # fmt: skip
        self.skipped = Counter(
            "vigil_bridge_skipped", "Events given up, by why: the peer never gets them.", ["bridge", "reason"],
            registry=registry,
        )  # fmt: skip
        self.pending = Gauge(
            "vigil_bridge_pending", "Events in JetStream that the peer has yet to take.", ["bridge"], registry=registry
        )

    def forget(self, bridge: str) -> None:
        """The bridge is no more: nothing is told of it."""
        for metric in (self.delivered, self.failed, self.skipped, self.pending):
            metric.remove_by_labels({"bridge": bridge})
