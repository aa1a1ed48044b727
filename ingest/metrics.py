"""What ingest measures, and the stage histogram that every stage fills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingest.errors import Reason
from ingest.ledger import Fate, FrameLedger

# The outcome of frames that were on their way in a worker that ended; who merges the processes' metrics counts it.
FRAMES_LOST = "dropped_worker"
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def stage_histogram(registry: CollectorRegistry) -> Histogram:
    """`vigil_stage_seconds{stage}`: decode, motion, letterbox, wait, infer, post, track, publish, media, preview."""
    return Histogram(
        "vigil_stage_seconds", "Seconds a frame spends in a stage.", ["stage"], buckets=STAGE_BUCKETS, registry=registry
    )


class IngestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.state = Gauge(
            "vigil_stream_state", "1 for the state a stream is in.", ["stream", "state"], registry=registry
        )
        self.reconnects = Counter(
            "vigil_reconnects", "Connections that failed or ended.", ["stream", "reason"], registry=registry
        )
        self.decoder = Gauge(
            "vigil_decoder_info", "1 for what decodes a stream.", ["stream", "decoder"], registry=registry
        )
        self.camera_delay = Gauge(
            "vigil_camera_delay_seconds",
            "From when the last frame was taken until it was decoded; of a camera that does not tell its time "
            "(vigil_camera_clock_info) only what it was later than the quickest.",
            ["stream"],
            registry=registry,
        )
        self.camera_clock = Gauge(
            "vigil_camera_clock_info", "1 for what tells when frames were taken.", ["stream", "clock"],
            registry=registry,
        )  # fmt: skip
        self.packets = Counter(
            "vigil_packets",
            "Packets of video that became no frame: `broken`, `skipped` as fewer frames are wanted, or `late`: too old "
            "when their turn came to be decoded.",
            ["stream", "outcome"],
            registry=registry,
        )
        self.ledgers = LedgerCollector()
        registry.register(self.ledgers)

    def begin(self, stream: str) -> None:
        """Counters stand at 0 before they count: Prometheus takes the first value of a series for no increase."""
        for reason in Reason:
            self.reconnects.labels(stream, reason.value)
        for outcome in ("broken", "skipped", "late"):
            self.packets.labels(stream, outcome)


class LedgerCollector(Collector):
    """Reads each stream's ledger at the scrape, so that the frames always add up."""

    def __init__(self) -> None:
        self._ledgers: dict[str, FrameLedger[Any, Any]] = {}

    def add(self, stream: str, ledger: FrameLedger[Any, Any]) -> None:
        self._ledgers[stream] = ledger

    def forget(self, stream: str) -> None:
        self._ledgers.pop(stream, None)

    def collect(self) -> Iterator[Metric]:
        frames = CounterMetricFamily(
            "vigil_frames",
            "Frames that were decoded, and what became of them: analysed; dropped for want of room (dropped_ring), "
            "a newer one (dropped_stale), no detector (dropped_detector), inference failed (dropped_error) or the "
            "worker ended (dropped_worker); skipped, as fewer are wanted.",
            labels=["stream", "outcome"],
        )
        flying = GaugeMetricFamily(
            "vigil_frames_in_flight", "Frames that were decoded and have no outcome yet.", labels=["stream"]
        )
        for stream, ledger in self._ledgers.items():
            fates, in_flight = ledger.balance()
            frames.add_metric([stream, "decoded"], sum(fates.values()) + in_flight)
            for fate in Fate:
                frames.add_metric([stream, fate.value], fates.get(fate, 0))
            frames.add_metric([stream, FRAMES_LOST], 0)
            flying.add_metric([stream], in_flight)
        yield frames
        yield flying
