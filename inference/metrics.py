"""What the detector measures of itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest.metrics import stage_histogram


class DetectorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        stage = stage_histogram(registry)
        self.wait, self.infer, self.post = stage.labels("wait"), stage.labels("infer"), stage.labels("post")
        self.batch = Histogram(
            "vigil_batch_size", "Frames per inference.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.errors = Counter("vigil_inference_errors", "Inferences that failed.", registry=registry)
        self.details_dropped = Counter(
            "vigil_details_dropped", "Objects whose mask, keypoints or corners did not fit into an answer.",
            registry=registry,
        )  # fmt: skip
        self.model = Gauge(
            "vigil_model_info", "1 for the loaded model.", ["name", "hash", "runtime", "precision", "device"],
            registry=registry,
        )  # fmt: skip
