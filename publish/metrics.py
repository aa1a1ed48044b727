"""What publishing measures, and the one scrape that speaks for all processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

END_TO_END_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)


class PublishMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.detections = Counter("vigil_detections", "Boxes reported.", ["stream", "class"], registry=registry)
        self.events = Counter("vigil_events", "Events made.", ["stream", "type"], registry=registry)
        self.acked = Counter("vigil_events_acked", "Events acknowledged by JetStream.", registry=registry)
        self.events_dropped = Counter(
            "vigil_events_dropped", "Events given up because too many were waiting for NATS.", registry=registry
        )
        self.frames_dropped = Counter(
            "vigil_frame_results_dropped", "Frame results given up because NATS was away or slow.", registry=registry
        )
        self.pending = Gauge("vigil_outbox_pending", "Events waiting for their acknowledgement.", registry=registry)
        self.connected = Gauge("vigil_nats_connected", "1 while connected to NATS.", registry=registry)
        self.end_to_end = Histogram(
            "vigil_end_to_end_seconds", "From a frame's arrival to its published result.", ["stream"],
            buckets=END_TO_END_BUCKETS, registry=registry,
        )  # fmt: skip


# A metric family as it crosses a process: name, help, type, [[sample name, labels, value], …]
Family = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]
# A sample: family name, sample name, labels
Key = tuple[str, str, tuple[tuple[str, str], ...]]


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """Everything a process's registry holds, as plain data."""
    return [
        (metric.name, metric.documentation, metric.type,
         [(s.name, dict(s.labels), s.value) for s in metric.samples if not s.name.endswith("_created")])
        for metric in registry.collect()
    ]  # fmt: skip


def forget_stream(registry: CollectorRegistry, stream: str) -> None:
    """Drops a stream from a process's metrics."""
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase) and "stream" in collector._labelnames:
            collector.remove_by_labels({"stream": stream})


def _of_stream(samples: dict[Key, float], stream: str) -> list[Key]:
    return [key for key in samples if ("stream", stream) in key[2]]


class MergedMetrics(Collector):
    """The sum over all processes, past and present: counters go on where a restarted process left them."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str]] = {}
        self._now: dict[str, dict[Key, float]] = {}
        self._past: dict[Key, float] = {}

    def update(self, process: str, families: Iterable[Any]) -> None:
        """Takes a process's latest snapshot (it may have come through JSON)."""
        samples = self._now.setdefault(process, {})
        for family, documentation, kind, rows in families:
            self._families[family] = (documentation, kind)
            for name, labels, value in rows:
                samples[family, name, tuple(sorted(labels.items()))] = value

    def gone(self, process: str) -> None:
        """The process has ended: what it counted stays, what it showed as current goes."""
        self._settle(self._now.pop(process, {}))

    def left(self, process: str, stream: str) -> None:
        """The process has let go of a stream, which is as if it had ended for that stream."""
        samples = self._now.get(process, {})
        self._settle({key: samples.pop(key) for key in _of_stream(samples, stream)})

    def forget(self, stream: str) -> None:
        """The stream is no more: nothing is told of it."""
        for samples in (self._past, *self._now.values()):
            for key in _of_stream(samples, stream):
                del samples[key]

    def _settle(self, samples: dict[Key, float]) -> None:
        for key, value in samples.items():
            if self._families[key[0]][1] in ("counter", "histogram"):
                self._past[key] = self._past.get(key, 0.0) + value

    def value(self, name: str, **labels: str) -> float:
        """The merged value of one sample, summed over the labels not given; for the API and tests."""
        wanted = set(labels.items())
        sources = [self._past, *self._now.values()]
        return sum(v for s in sources for k, v in s.items() if k[1] == name and wanted <= set(k[2]))

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for source in (self._past, *self._now.values()):
            for (family, name, labels), value in source.items():
                samples = merged.setdefault(family, {})
                samples[name, labels] = samples.get((name, labels), 0.0) + value
        for family, samples in sorted(merged.items()):
            documentation, kind = self._families[family]
            metric = Metric(family, documentation, kind)
            for (name, labels), value in samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric
