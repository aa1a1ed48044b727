"""What a worker shares among its streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from ingest.activity import Activity
from ingest.metrics import IngestMetrics, stage_histogram
from publish.media.darkroom import Darkroom
from publish.media.metrics import MediaMetrics
from publish.metrics import OutboxMetrics, PublishMetrics, forget_stream
from publish.preview.gallery import Gallery
from publish.preview.metrics import PreviewMetrics
from publish.publisher import Publisher
from publish.tracing.metrics import TracingMetrics
from publish.tracing.tracer import Tracer
from tracking.metrics import TrackingMetrics
from vigil.appearance import Embedders
from vigil.identification import Inquiries
from vigil.link import DetectorLink


class WorkerMetrics:
    """Every stage's metrics in one registry, which the supervisor merges with those of the other processes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.ingest = IngestMetrics(self.registry)
        self.tracking = TrackingMetrics(self.registry)
        self.publish = PublishMetrics(self.registry)
        self.outbox = OutboxMetrics(self.registry)
        self.media = MediaMetrics(self.registry)
        self.preview = PreviewMetrics(self.registry)
        self.tracing = TracingMetrics(self.registry)
        self.stage = stage_histogram(self.registry)

    def forget(self, stream: str) -> None:
        """The worker has let go of the stream."""
        self.ingest.ledgers.forget(stream)
        forget_stream(self.registry, stream)


@dataclass(frozen=True, slots=True)
class Services:
    """`link` is the current link to the detector, None while there is none; `call` runs a function in the worker's
    loop and may be called from any thread; `report` tells the supervisor about a stream; `activity` is where readers
    note that they are in a call that may hang; `embedders` are the worker's ReID models; `inquiries` are where it asks
    who tracks are, None: nowhere; `darkroom` makes pictures and clips; `gallery` shows streams to viewers; `tracer`
    keeps traces, None: of no frame."""

    site: str
    activity: Activity
    publisher: Publisher
    metrics: WorkerMetrics
    link: Callable[[], DetectorLink | None]
    call: Callable[..., object]
    report: Callable[..., None]
    embedders: Embedders = field(default_factory=Embedders)
    inquiries: Inquiries | None = None
    darkroom: Darkroom | None = None
    gallery: Gallery | None = None
    tracer: Tracer | None = None
