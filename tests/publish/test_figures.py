"""Rates and quantiles over the last seconds, as Prometheus computes them."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram

from publish.figures import WINDOW_S, Figures, quantile
from publish.metrics import MergedMetrics, snapshot

INF = math.inf


@pytest.mark.parametrize(
    ("q", "buckets", "expected"),
    [
        # What Prometheus' own tests of histogram_quantile expect of these.
        (0.5, [(0.1, 10), (0.2, 20), (INF, 20)], 0.1),
        (0.75, [(0.1, 10), (0.2, 20), (INF, 20)], 0.15),
        (0.25, [(0.1, 10), (0.2, 20), (INF, 20)], 0.05),
        (0.99, [(0.1, 0), (0.2, 10), (INF, 20)], 0.2),
        (0.5, [(0.1, 0), (0.2, 0), (INF, 0)], None),
        (0.5, [(INF, 5)], None),
        (0.5, [(0.1, 4), (0.2, 4)], None),
    ],
)  # fmt: skip
def test_quantiles_are_those_of_prometheus(
    q: float, buckets: list[tuple[float, float]], expected: float | None
) -> None:
    assert quantile(q, buckets) == (None if expected is None else pytest.approx(expected))


class Process:
    """One that counts frames and times them."""

    def __init__(self, metrics: MergedMetrics, name: str) -> None:
        self._metrics, self._name = metrics, name
        self.registry = CollectorRegistry()
        self.frames = Counter("vigil_frames", "Frames.", ["stream", "outcome"], registry=self.registry)
        self.latency = Histogram(
            "vigil_end_to_end_seconds", "Latency.", ["stream"], buckets=(0.1, 0.2), registry=self.registry
        )

    def tell(self) -> None:
        self._metrics.update(self._name, snapshot(self.registry))


def test_rates_are_of_the_last_seconds_and_not_since_the_start() -> None:
    metrics, figures = MergedMetrics(), Figures()
    process = Process(metrics, "worker-0")
    frames = process.frames.labels("gate", "analysed")
    frames.inc(10_000)
    process.latency.labels("gate").observe(0.15)
    for second in range(int(WINDOW_S) * 3):
        process.tell()
        figures.read(metrics, float(second))
        frames.inc(5)
    key = (("outcome", "analysed"), ("stream", "gate"))
    assert figures.rates("vigil_frames_total")[key] == pytest.approx(5.0)
    assert figures.span_s == pytest.approx(WINDOW_S, abs=1)
    assert figures.quantiles("vigil_end_to_end_seconds", "stream", (0.5,)) == {"gate": [None]}, "none of late"
    process.latency.labels("gate").observe(0.15)
    process.tell()
    figures.read(metrics, WINDOW_S * 3)
    assert figures.quantiles("vigil_end_to_end_seconds", "stream", (0.5,)) == {"gate": [pytest.approx(0.15)]}


def test_with_one_reading_there_are_totals_and_no_rates() -> None:
    metrics, figures = MergedMetrics(), Figures()
    process = Process(metrics, "worker-0")
    process.frames.labels("gate", "analysed").inc(3)
    process.tell()
    assert figures.totals("vigil_frames_total") == {} and figures.span_s == 0
    figures.read(metrics, 1.0)
    assert list(figures.totals("vigil_frames_total").values()) == [3] and figures.rates("vigil_frames_total") == {}


def test_a_stream_that_was_removed_and_added_again_counts_from_then() -> None:
    metrics, figures = MergedMetrics(), Figures()
    process = Process(metrics, "worker-0")
    process.frames.labels("gate", "analysed").inc(100)
    process.tell()
    figures.read(metrics, 0.0)
    metrics.forget("gate")
    process.frames.clear()
    process.frames.labels("gate", "analysed").inc(4)
    process.tell()
    figures.read(metrics, 2.0)
    assert list(figures.rates("vigil_frames_total").values()) == [2.0]


def test_one_process_can_be_told_from_the_others() -> None:
    metrics = MergedMetrics()
    for name, count in (("detector", 3), ("detector-cars", 4)):
        process = Process(metrics, name)
        process.frames.labels("gate", "analysed").inc(count)
        process.tell()
    figures = Figures(process="detector-cars")
    figures.read(metrics, 0.0)
    assert list(figures.totals("vigil_frames_total").values()) == [4]
