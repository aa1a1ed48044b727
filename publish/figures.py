"""How things go at present, out of the merged metrics: rates and quantiles over the last seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from publish.metrics import MergedMetrics

WINDOW_S = 15.0
# What is read of the metrics, each second.
FAMILIES = frozenset({
    "vigil_frames", "vigil_packets", "vigil_stage_seconds", "vigil_end_to_end_seconds", "vigil_process_cpu_seconds",
    "vigil_process_resident_bytes", "vigil_detector_busy_seconds", "vigil_detector_threads", "vigil_gpu_info",
    "vigil_gpu_busy_ratio", "vigil_gpu_memory_bytes", "vigil_gpu_memory_used_bytes",
})  # fmt: skip

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[tuple[str, Labels], float]


class Reading(NamedTuple):
    """All samples of the families at a time, in monotonic seconds."""

    at_s: float
    samples: Samples


class Figures:
    """Remembers the readings of a while. What was counted before the oldest of them does not matter any more."""

    def __init__(self, families: frozenset[str] = FAMILIES, process: str | None = None) -> None:
        """Of all processes together, or of one."""
        self._families = families
        self._process = process
        self._readings: deque[Reading] = deque()

    def read(self, metrics: MergedMetrics, now_s: float) -> None:
        self._readings.append(Reading(now_s, metrics.samples(self._families, self._process)))
        while len(self._readings) > 2 and self._readings[1].at_s <= now_s - WINDOW_S:
            self._readings.popleft()

    @property
    def span_s(self) -> float:
        """Seconds that the figures are of."""
        return self._readings[-1].at_s - self._readings[0].at_s if self._readings else 0.0

    def totals(self, name: str) -> dict[Labels, float]:
        """A counter's samples by labels, as they are now."""
        if not self._readings:
            return {}
        return {labels: value for (sample, labels), value in self._readings[-1].samples.items() if sample == name}

    def grown(self, name: str) -> dict[Labels, float]:
        """By how much a counter's samples have grown in the span; what began anew in it counts from there."""
        if not self._readings:
            return {}
        before = self._readings[0].samples
        grown = {}
        for labels, value in self.totals(name).items():
            old = before.get((name, labels), 0.0)
            grown[labels] = value - old if value >= old else value
        return grown

    def rates(self, name: str) -> dict[Labels, float]:
        """Growth a second; nothing as long as there is but one reading."""
        span_s = self.span_s
        return {labels: value / span_s for labels, value in self.grown(name).items()} if span_s > 0 else {}

    def quantiles(self, histogram: str, by: str, wanted: Sequence[float]) -> dict[str, list[float | None]]:
        """Of what a histogram took in the span, for each value of the label `by`; None where it took nothing."""
        buckets: dict[str, dict[float, float]] = {}
        for labels, value in self.grown(f"{histogram}_bucket").items():
            told = dict(labels)
            counts = buckets.setdefault(told[by], {})
            edge = float(told["le"])
            counts[edge] = counts.get(edge, 0.0) + value
        return {of: [quantile(q, counts.items()) for q in wanted] for of, counts in buckets.items()}


def quantile(q: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """As Prometheus' `histogram_quantile`: straight lines within buckets, the last finite edge beyond them.

    `buckets` are upper edges, the last one infinite, and how many there were up to each. None: there were none.
    """
    edges = sorted(buckets)
    if len(edges) < 2 or not math.isinf(edges[-1][0]) or edges[-1][1] <= 0:
        return None
    rank = q * edges[-1][1]
    index = next(n for n, (_, count) in enumerate(edges) if count >= rank)
    if index == len(edges) - 1:
        return edges[-2][0]
    edge, count = edges[index]
    below, before = edges[index - 1] if index else (min(0.0, edge), 0.0)
    if index == 0 and edge <= 0:
        return edge
    within = count - before
    return below + (edge - below) * ((rank - before) / within) if within else edge
