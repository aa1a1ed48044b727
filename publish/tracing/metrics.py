"""What becomes of traces."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter


class TracingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.traces = Counter(
            "vigil_traces", "Traced frames by what became of their traces: exported; dropped, as too many came at "
            "once; failed, as the collector did not take them.", ["outcome"], registry=registry,
        )  # fmt: skip
