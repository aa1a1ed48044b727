"""What publishing measures, and the one scrape that speaks for all processes."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from ingest.metrics import FRAMES_LOST

END_TO_END_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0)


class PublishMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.detections = Counter(
            "vigil_detections", "Objects in frame results, one for each frame in which it was seen.",
            ["stream", "class"], registry=registry,
        )  # fmt: skip
        self.events = Counter(
            "vigil_events", "Events made, and promised to JetStream.", ["stream", "type"], registry=registry
        )
        self.frames_dropped = Counter(
            "vigil_frame_results_dropped", "Frame results given up because NATS was away or slow.", registry=registry
        )
        self.connected = Gauge(
            "vigil_nats_connected", "1 while the process is connected to NATS, else 0.", registry=registry
        )
        self.troubles = Gauge(
            "vigil_nats_troubles", "What keeps messages from NATS, by name: how many such things, over all processes.",
            ["code"], registry=registry,
        )  # fmt: skip
        self.end_to_end = Histogram(
            "vigil_end_to_end_seconds", "From a frame's arrival at Vigil to its published result.", ["stream"],
            buckets=END_TO_END_BUCKETS, registry=registry,
        )  # fmt: skip

    def trouble(self, code: str, count: int) -> None:
        self.troubles.labels(code).set(count)


class OutboxMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.acked = Counter("vigil_events_acked", "Events acknowledged by JetStream.", registry=registry)
        self.dropped = Counter(
            "vigil_events_dropped", "Events given up: the outbox was full (`outbox_full`) or could not be written for "
            "long (`outbox_failing`), or NATS refuses them for good (`refused`).", ["reason"], registry=registry,
        )  # fmt: skip
        for reason in ("outbox_full", "outbox_failing", "refused"):
            self.dropped.labels(reason)  # Prometheus takes the first value of a series for no increase
        self.pending = Gauge("vigil_outbox_pending", "Events and states waiting for JetStream.", registry=registry)
        self.bytes = Gauge("vigil_outbox_bytes", "Bytes that the outbox takes on disk.", registry=registry)
        self.oldest = Gauge(
            "vigil_outbox_oldest_seconds",
            "For how long the oldest message in the outbox has waited while a service ran.",
            registry=registry,
        )
        self.failing = Gauge("vigil_outbox_failing", "Processes that cannot write to the outbox.", registry=registry)


# A metric family as it crosses a process: name, help, type, [[sample name, labels, value], …]
Family = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]
# A sample: family name, sample name, labels
Key = tuple[str, str, tuple[tuple[str, str], ...]]

# What each process tells of itself: the sum would say nothing.
OF_EACH_PROCESS = frozenset({"vigil_nats_connected", "vigil_detector_busy_seconds", "vigil_detector_threads"})
# What was on its way in a process, or of a stream, that is no more has come to an end: frames add up.
IN_FLIGHT, LOST = "vigil_frames_in_flight", ("vigil_frames", "vigil_frames_total", ("outcome", FRAMES_LOST))
# No process tells more samples of one metric than this. Labels are names from the config, of the model's classes and
# of ours: whoever gets here has a model of thousands of classes on dozens of cameras.
MOST_SAMPLES = 10_000
OVERFLOW = "vigil_metric_samples_refused"
OVERFLOW_HELP = f"Samples that are not told, as a process has more than {MOST_SAMPLES} of the metric."


def snapshot(registry: CollectorRegistry) -> list[Family]:
    """Everything a process's registry holds, as plain data."""
    return [
        (metric.name, metric.documentation, metric.type,
         [(s.name, dict(s.labels), s.value) for s in metric.samples if not s.name.endswith("_created")])
        for metric in registry.collect()
    ]  # fmt: skip


def in_parts(families: Iterable[Family], most: int) -> Iterator[tuple[list[Family], bool]]:
    """A report in parts of at most `most` samples, and of each whether more follow."""
    part: list[Family] = []
    room = most
    for name, documentation, kind, samples in families:
        for start in range(0, len(samples) or 1, most):
            rows = samples[start : start + most]
            if len(rows) > room:
                yield part, True
                part, room = [], most
            part.append((name, documentation, kind, rows))
            room -= len(rows)
    yield part, False


def forget_stream(registry: CollectorRegistry, stream: str) -> None:
    """Drops a stream from a process's metrics."""
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase) and "stream" in collector._labelnames:
            collector.remove_by_labels({"stream": stream})


def _with(samples: dict[Key, float], label: tuple[str, str]) -> list[Key]:
    return [key for key in samples if label in key[2]]


class MergedMetrics(Collector):
    """The sum over all processes, past and present: counters go on where a restarted process left them.

    What a process reports is taken whole or not at all, so that what adds up there does here. What a killed process
    counted after its last report is not known.
    """

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str]] = {OVERFLOW: (OVERFLOW_HELP, "gauge")}
        self._coming: dict[str, dict[Key, float]] = {}  # reports of which parts have yet to come
        self._now: dict[str, dict[Key, float]] = {}
        self._past: dict[Key, float] = {}
        self._live: dict[str, CollectorRegistry] = {}

    def live(self, process: str, registry: CollectorRegistry) -> None:
        """This process's own registry, which is read at every scrape."""
        self._live[process] = registry

    def refresh(self) -> None:
        """Reads this process's own registry now."""
        for process, registry in self._live.items():
            self.update(process, snapshot(registry))

    def update(self, process: str, families: Iterable[Any], more: bool = False) -> None:
        """Takes a process's report, or a part of it: `more` follow.

        What it does not tell any more has ended.
        """
        coming = self._coming.setdefault(process, {})
        for family, documentation, kind, rows in families:
            self._families[family] = (documentation, kind)
            own = (("process", process),) if family in OF_EACH_PROCESS else ()
            for name, labels, value in rows:
                coming[family, name, (*own, *sorted(labels.items()))] = value
        if more:
            return
        before, self._now[process] = self._now.get(process, {}), _bounded(coming)
        del self._coming[process]
        self._settle({key: value for key, value in before.items() if key not in coming})

    def gone(self, process: str) -> None:
        """The process has ended: what it counted stays, what it showed as current goes."""
        self._coming.pop(process, None)
        self._settle(self._now.pop(process, {}))

    def left(self, process: str, stream: str) -> None:
        """The process has let go of a stream, which is as if it had ended for that stream."""
        samples = self._now.get(process, {})
        self._settle({key: samples.pop(key) for key in _with(samples, ("stream", stream))})

    def forget(self, stream: str) -> None:
        """The stream is no more: nothing is told of it."""
        self._forget("stream", stream)

    def forget_process(self, process: str) -> None:
        """The process is no more, and no other comes in its place: nothing is told of it."""
        self.gone(process)
        self._forget("process", process)

    def _forget(self, label: str, value: str) -> None:
        for samples in (self._past, *self._now.values(), *self._coming.values()):
            for key in _with(samples, (label, value)):
                del samples[key]

    def _settle(self, samples: dict[Key, float]) -> None:
        for key, value in samples.items():
            family, _, labels = key
            if family == IN_FLIGHT:
                family, name, label = LOST
                key = family, name, tuple(sorted((label, *labels)))
            if self._families[family][1] in ("counter", "histogram"):
                self._past[key] = self._past.get(key, 0.0) + value

    def value(self, name: str, **labels: str) -> float:
        """The merged value of one sample, summed over the labels not given; for the API and tests."""
        wanted = set(labels.items())
        sources = [self._past, *self._now.values()]
        return sum(v for s in sources for k, v in s.items() if k[1] == name and wanted <= set(k[2]))

    def samples(
        self, families: Collection[str], process: str | None = None
    ) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """The merged values of some families by sample name and labels; of one process's if that is given."""
        sources = [self._past, *self._now.values()] if process is None else [self._now.get(process, {})]
        merged: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for source in sources:
            for (family, name, labels), value in source.items():
                if family in families:
                    merged[name, labels] = merged.get((name, labels), 0.0) + value
        return merged

    def collect(self) -> Iterator[Metric]:
        self.refresh()
        merged: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for source in (self._past, *self._now.values()):
            for (family, name, labels), value in source.items():
                samples = merged.setdefault(family, {})
                before = samples.get((name, labels), 0.0)
                samples[name, labels] = max(before, value) if family.endswith("_info") else before + value
        for family, samples in sorted(merged.items()):
            documentation, kind = self._families[family]
            metric = Metric(family, documentation, kind)
            for (name, labels), value in samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def _bounded(samples: dict[Key, float]) -> dict[Key, float]:
    """The samples, without those of a metric that has too many of them, which are counted instead."""
    sizes = Tally(family for family, _, _ in samples)
    if max(sizes.values(), default=0) <= MOST_SAMPLES:
        return samples
    kept: dict[Key, float] = {}
    taken: Tally[str] = Tally()
    for key, value in samples.items():
        taken[key[0]] += 1
        if taken[key[0]] <= MOST_SAMPLES:
            kept[key] = value
    for family, size in sizes.items():
        if size > MOST_SAMPLES:
            kept[OVERFLOW, OVERFLOW, (("metric", family),)] = size - MOST_SAMPLES
    return kept
