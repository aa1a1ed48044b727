"""What the detector measures of itself, and what is measured of GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.nvml import THROTTLES, GpuReading
from ingest.metrics import stage_histogram


class DetectorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        stage = stage_histogram(registry)
        self.wait, self.infer, self.post = stage.labels("wait"), stage.labels("infer"), stage.labels("post")
        self.batch = Histogram(
            "vigil_batch_size", "Frames in one inference.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry
        )
        self.busy = Counter(
            "vigil_detector_busy_seconds", "Seconds in which a detector inferred and read outputs, over its threads.",
            registry=registry,
        )  # fmt: skip
        self.threads = Gauge(
            "vigil_detector_threads", "Batches that a detector infers at the same time.", registry=registry
        )
        self.errors = Counter("vigil_inference_errors", "Inferences that failed.", registry=registry)
        self.details_dropped = Counter(
            "vigil_details_dropped", "Objects whose mask, keypoints, corners or features did not fit into an answer.",
            registry=registry,
        )  # fmt: skip
        self.model = Gauge(
            "vigil_model_info", "1 for a model that is loaded.", ["name", "hash", "runtime", "precision", "device"],
            registry=registry,
        )  # fmt: skip


class GpuCollector(Collector):
    """The last readings of the GPUs; what one does not tell is not there."""

    def __init__(self) -> None:
        self.readings: Sequence[GpuReading] = ()

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("vigil_gpu_info", "1 for a GPU.", labels=["gpu", "name", "uuid", "driver"])
        busy = GaugeMetricFamily("vigil_gpu_busy_ratio", "Share of time in which a GPU computes.", labels=["gpu"])
        decoder = GaugeMetricFamily(
            "vigil_gpu_decoder_busy_ratio", "Share of time in which a GPU's video decoder works.", labels=["gpu"]
        )
        encoder = GaugeMetricFamily(
            "vigil_gpu_encoder_busy_ratio", "Share of time in which a GPU's video encoder works.", labels=["gpu"]
        )
        used = GaugeMetricFamily(
            "vigil_gpu_memory_used_bytes", "Memory of a GPU in use, by all programs.", labels=["gpu"]
        )
        memory = GaugeMetricFamily("vigil_gpu_memory_bytes", "Memory that a GPU has.", labels=["gpu"])
        heat = GaugeMetricFamily("vigil_gpu_temperature_celsius", "Temperature of a GPU.", labels=["gpu"])
        power = GaugeMetricFamily("vigil_gpu_power_watts", "Power that a GPU takes.", labels=["gpu"])
        limit = GaugeMetricFamily("vigil_gpu_power_limit_watts", "Power that a GPU may take.", labels=["gpu"])
        throttled = GaugeMetricFamily(
            "vigil_gpu_throttled", "1 for a reason for which a GPU holds its clocks back.", labels=["gpu", "reason"]
        )
        for one in self.readings:
            gpu = str(one.gpu)
            info.add_metric([gpu, one.name, one.uuid, one.driver], 1)
            for family, value in (
                (busy, one.busy), (decoder, one.decoder_busy), (encoder, one.encoder_busy),
                (used, one.memory_used_bytes), (memory, one.memory_bytes), (heat, one.temperature_c),
                (power, one.power_w), (limit, one.power_limit_w),
            ):  # fmt: skip
                if value is not None:
                    family.add_metric([gpu], value)
            for reason in THROTTLES if one.throttled is not None else ():
                throttled.add_metric([gpu, reason], reason in (one.throttled or ()))
        yield from (info, busy, decoder, encoder, used, memory, heat, power, limit, throttled)
