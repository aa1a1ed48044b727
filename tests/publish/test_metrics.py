"""One scrape speaks for all processes, past and present."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from publish.metrics import MergedMetrics, PublishMetrics, snapshot


class Process:
    """What one run of a process measures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Counter("frames", "Frames.", ["stream"], registry=self.registry)
        self.active = Gauge("active", "Active.", ["stream"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", buckets=(0.1, 1.0), registry=self.registry)

    def report(self, merged: MergedMetrics, name: str) -> None:
        """As it crosses processes: through JSON."""
        merged.update(name, json.loads(json.dumps(snapshot(self.registry))))


def test_counters_go_on_where_a_restarted_process_left_them() -> None:
    merged = MergedMetrics()
    for expected in (5, 10, 15):
        process = Process()
        process.frames.labels("gate").inc(2)
        process.report(merged, "worker-0")
        process.frames.labels("gate").inc(3)
        process.report(merged, "worker-0")
        assert merged.value("frames_total", stream="gate") == expected
        merged.gone("worker-0")
        assert merged.value("frames_total", stream="gate") == expected


def test_gauges_go_with_their_process() -> None:
    merged, process = MergedMetrics(), Process()
    process.active.labels("gate").set(4)
    process.report(merged, "worker-0")
    assert merged.value("active") == 4
    merged.gone("worker-0")
    assert merged.value("active") == 0
    assert b"active{" not in scrape(merged)


def test_histograms_stay_whole_over_a_restart() -> None:
    merged = MergedMetrics()
    for _ in range(2):
        process = Process()
        for seconds in (0.05, 0.5, 5.0):
            process.seconds.observe(seconds)
        process.report(merged, "worker-0")
        merged.gone("worker-0")
    assert merged.value("seconds_count") == 6
    assert merged.value("seconds_bucket", le="0.1") == 2
    assert merged.value("seconds_bucket", le="1.0") == 4
    assert merged.value("seconds_bucket", le="+Inf") == 6


def test_processes_are_added_up() -> None:
    merged = MergedMetrics()
    for number in range(3):
        process = Process()
        process.frames.labels("gate").inc(10)
        process.frames.labels(f"cam{number}").inc(1)
        process.active.labels("gate").set(1)
        process.report(merged, f"worker-{number}")
    assert merged.value("frames_total", stream="gate") == 30
    assert merged.value("frames_total", stream="cam1") == 1
    assert merged.value("frames_total") == 33
    assert merged.value("active") == 3
    assert merged.value("frames_total", stream="nobody") == 0
    assert merged.value("nothing") == 0


def test_one_processs_end_leaves_the_others_alone() -> None:
    merged, staying, going = MergedMetrics(), Process(), Process()
    for name, process in (("worker-0", staying), ("worker-1", going)):
        process.active.labels("gate").set(1)
        process.frames.labels("gate").inc(1)
        process.report(merged, name)
    merged.gone("worker-1")
    assert merged.value("active") == 1
    assert merged.value("frames_total") == 2


def test_an_unknown_process_may_be_gone() -> None:
    MergedMetrics().gone("worker-9")


@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 9))), max_size=40))
def test_a_merged_counter_never_goes_back(steps: list[tuple[int, int | None]]) -> None:
    """Three processes, each counting (a number) or being restarted (None)."""
    merged = MergedMetrics()
    processes = [Process() for _ in range(3)]
    counted = 0
    for number, amount in steps:
        if amount is None:
            merged.gone(f"worker-{number}")
            processes[number] = Process()
        else:
            processes[number].frames.labels("gate").inc(amount)
            counted += amount
        processes[number].report(merged, f"worker-{number}")
        assert merged.value("frames_total", stream="gate") == counted


def scrape(merged: MergedMetrics) -> bytes:
    registry = CollectorRegistry()
    registry.register(merged)
    return generate_latest(registry)


def test_the_scrape_is_what_prometheus_reads() -> None:
    merged, process = MergedMetrics(), Process()
    process.frames.labels('odd "name"\n').inc(2)
    process.active.labels("gate").set(1)
    process.seconds.observe(0.5)
    process.report(merged, "worker-0")
    families = {family.name: family for family in text_string_to_metric_families(scrape(merged).decode())}
    assert families["frames"].type == "counter"
    assert families["frames"].samples[0].labels == {"stream": 'odd "name"\n'}
    assert families["active"].type == "gauge"
    assert families["seconds"].type == "histogram"
    assert families["frames"].documentation == "Frames."
    assert not any(name.endswith("_created") for name in families)


def test_creation_times_are_not_added_up() -> None:
    process = Process()
    process.frames.labels("gate").inc()
    names = {name for _, _, _, rows in snapshot(process.registry) for name, _, _ in rows}
    assert not any(name.endswith("_created") for name in names)


def test_what_publishing_measures_has_the_names_of_the_design() -> None:
    registry = CollectorRegistry()
    metrics = PublishMetrics(registry)
    metrics.detections.labels("gate", "person").inc()
    metrics.events.labels("gate", "track.started").inc()
    assert registry.get_sample_value("vigil_detections_total", {"stream": "gate", "class": "person"}) == 1
    assert registry.get_sample_value("vigil_events_total", {"stream": "gate", "type": "track.started"}) == 1
    assert registry.get_sample_value("vigil_outbox_pending") == 0
