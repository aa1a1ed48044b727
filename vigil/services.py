"""What a worker shares among its streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from ingest.activity import Activity
from ingest.metrics import IngestMetrics, stage_histogram
from publish.metrics import PublishMetrics, forget_stream
from publish.publisher import Publisher
from tracking.metrics import TrackingMetrics
from vigil.link import DetectorLink


class WorkerMetrics:
    """Every stage's metrics in one registry, which the supervisor merges with those of the other processes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.ingest = IngestMetrics(self.registry)
        self.tracking = TrackingMetrics(self.registry)
        self.publish = PublishMetrics(self.registry)
        self.stage = stage_histogram(self.registry)

    def forget(self, stream: str) -> None:
        """The worker has let go of the stream."""
        self.ingest.ledgers.forget(stream)
        forget_stream(self.registry, stream)


@dataclass(frozen=True, slots=True)
class Services:
    """`link` is the current link to the detector, None while there is none; `call` runs a function in the worker's
    loop and may be called from any thread; `report` tells the supervisor about a stream; `activity` is where readers
    note that they are in a call that may hang."""

    site: str
    activity: Activity
    publisher: Publisher
    metrics: WorkerMetrics
    link: Callable[[], DetectorLink | None]
    call: Callable[..., object]
    report: Callable[..., None]
