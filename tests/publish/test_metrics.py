"""One scrape speaks for all processes, past and present."""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ingest.ledger import Fate, FrameLedger
from ingest.metrics import IngestMetrics
from publish import metrics
from publish.metrics import MergedMetrics, OutboxMetrics, PublishMetrics, in_parts, snapshot


class Process:
    """What one run of a process measures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Counter("frames", "Frames.", ["stream"], registry=self.registry)
        self.active = Gauge("active", "Active.", ["stream"], registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", buckets=(0.1, 1.0), registry=self.registry)

    def report(self, merged: MergedMetrics, name: str) -> None:
        """As it crosses processes: through JSON, in parts."""
        for part, more in in_parts(snapshot(self.registry), 3):
            merged.update(name, json.loads(json.dumps(part)), more)


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


STREAMS = st.sampled_from(["gate", "yard"])
NUMBERS = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("count"), NUMBERS, STREAMS, st.integers(0, 9)),
    st.tuples(st.just("report"), NUMBERS),
    st.tuples(st.just("end"), NUMBERS),
    st.tuples(st.just("leave"), NUMBERS, STREAMS),
    st.tuples(st.just("remove"), STREAMS),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_to_processes_and_streams_what_was_reported_is_counted_once(steps: list[Any]) -> None:
    """Three processes count frames of two streams, report, end and are replaced, and let go of streams."""
    merged = MergedMetrics()
    processes = [Process() for _ in range(3)]
    unreported = [Tally[str]() for _ in range(3)]
    active: list[dict[str, int]] = [{} for _ in range(3)]
    reported, shown, seconds = Tally[str](), [dict[str, int]() for _ in range(3)], 0
    for step in steps:
        match step:
            case "count", number, stream, amount:
                processes[number].frames.labels(stream).inc(amount)
                processes[number].active.labels(stream).set(amount)
                processes[number].seconds.observe(amount)
                unreported[number][stream] += amount
                unreported[number]["seconds"] += 1
                active[number][stream] = amount
            case "report", number:
                processes[number].report(merged, f"worker-{number}")
                seconds += unreported[number].pop("seconds", 0)
                reported += unreported[number]
                unreported[number].clear()
                shown[number] = dict(active[number])
            case "end", number:
                merged.gone(f"worker-{number}")
                processes[number] = Process()
                unreported[number].clear()
                active[number], shown[number] = {}, {}
            case "leave", number, stream:  # as a worker does: it reports, forgets the stream and says so
                processes[number].report(merged, f"worker-{number}")
                metrics.forget_stream(processes[number].registry, stream)
                seconds += unreported[number].pop("seconds", 0)
                reported += unreported[number]
                unreported[number].clear()
                merged.left(f"worker-{number}", stream)
                active[number].pop(stream, None)
                shown[number] = dict(active[number])
            case "remove", stream:  # all workers have let go of it before
                for number, process in enumerate(processes):
                    metrics.forget_stream(process.registry, stream)
                    active[number].pop(stream, None)
                    shown[number].pop(stream, None)
                    unreported[number].pop(stream, None)
                merged.forget(stream)
                reported.pop(stream, None)
        for stream in ("gate", "yard"):
            assert merged.value("frames_total", stream=stream) == reported[stream]
            assert merged.value("active", stream=stream) == sum(one.get(stream, 0) for one in shown)
        assert merged.value("seconds_count") == merged.value("seconds_bucket", le="+Inf") == seconds


def test_a_report_counts_when_all_of_it_is_there() -> None:
    merged, process = MergedMetrics(), Process()
    process.frames.labels("gate").inc(5)
    process.active.labels("gate").set(5)
    *first, last = in_parts(snapshot(process.registry), 3)
    assert first, "the report has several parts"
    for part, more in first:
        merged.update("worker-0", part, more)
    assert merged.value("frames_total") == merged.value("active") == 0
    merged.update("worker-0", *last)
    assert merged.value("frames_total") == merged.value("active") == 5


def test_a_part_of_a_report_dies_with_its_process() -> None:
    merged, process = MergedMetrics(), Process()
    process.frames.labels("gate").inc(5)
    merged.update("worker-0", snapshot(process.registry), more=True)
    merged.gone("worker-0")
    Process().report(merged, "worker-0")
    assert merged.value("frames_total") == 0


@pytest.mark.parametrize("size", [0, 1, 399, 400, 401, 1200])
def test_a_report_in_parts_is_the_report(size: int) -> None:
    samples = [("frames_total", {"stream": str(number)}, 1.0) for number in range(size)]
    families = [("frames", "Frames.", "counter", samples), ("empty", "Empty.", "gauge", [])]
    parts = list(in_parts(families, 400))
    assert [row for part, _ in parts for family in part for row in family[3]] == samples
    assert all(sum(len(family[3]) for family in part) <= 400 for part, _ in parts)
    assert [more for _, more in parts] == [True] * (len(parts) - 1) + [False]
    assert {family[0] for part, _ in parts for family in part} == {"frames", "empty"}


def test_what_a_process_does_not_tell_any_more_has_ended() -> None:
    merged, process = MergedMetrics(), Process()
    process.frames.labels("gate").inc(5)
    process.active.labels("gate").set(5)
    process.report(merged, "worker-0")
    metrics.forget_stream(process.registry, "gate")
    process.report(merged, "worker-0")
    assert (merged.value("frames_total"), merged.value("active")) == (5, 0)
    process.frames.labels("gate").inc(1)  # it is back, and counts from nothing
    process.report(merged, "worker-0")
    assert merged.value("frames_total") == 6


def test_frames_of_a_worker_that_is_killed_still_add_up() -> None:
    registry, merged = CollectorRegistry(), MergedMetrics()
    ledger: FrameLedger[str, str] = FrameLedger()
    IngestMetrics(registry).ledgers.add("gate", ledger)
    for _ in range(3):
        ledger.settle(ledger.depart("frame"), Fate.ANALYSED)
    ledger.depart("on its way")
    merged.update("worker-0", snapshot(registry))
    assert merged.value("vigil_frames_total", outcome="dropped_worker") == 0
    merged.gone("worker-0")
    frames = {sample.labels["outcome"]: sample.value for sample in family_of(merged, "vigil_frames").samples}
    assert frames.pop("decoded") == sum(frames.values()) == 4
    assert (frames["analysed"], frames["dropped_worker"]) == (3, 1)


def test_each_process_has_its_own_connection_to_nats_and_a_model_counts_once() -> None:
    merged = MergedMetrics()
    for name, connected in (("worker-0", 1), ("worker-1", 0)):
        registry = CollectorRegistry()
        PublishMetrics(registry).connected.set(connected)
        Gauge("vigil_model_info", "Model.", ["name"], registry=registry).labels("yolo").set(1)
        merged.update(name, snapshot(registry))
    samples = family_of(merged, "vigil_nats_connected").samples
    assert {sample.labels["process"]: sample.value for sample in samples} == {"worker-0": 1, "worker-1": 0}
    assert [sample.value for sample in family_of(merged, "vigil_model_info").samples] == [1]
    merged.forget_process("worker-1")
    assert [sample.labels for sample in family_of(merged, "vigil_nats_connected").samples] == [{"process": "worker-0"}]


def test_what_is_live_is_read_at_the_scrape() -> None:
    merged, process = MergedMetrics(), Process()
    merged.live("supervisor", process.registry)
    process.frames.labels("gate").inc(7)
    assert b'frames_total{stream="gate"} 7.0' in scrape(merged)


def test_too_many_samples_of_one_metric_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_SAMPLES", 10)
    merged, process = MergedMetrics(), Process()
    for number in range(13):
        process.frames.labels(f"cam{number}").inc()
    process.active.labels("gate").set(1)
    process.report(merged, "worker-0")
    assert merged.value("frames_total") == 10
    assert merged.value("active") == 1
    assert merged.value("vigil_metric_samples_refused", metric="frames") == 3
    merged.gone("worker-0")
    assert merged.value("vigil_metric_samples_refused") == 0


def families_of(merged: MergedMetrics) -> Iterator[Any]:
    yield from text_string_to_metric_families(scrape(merged).decode())


def family_of(merged: MergedMetrics, name: str) -> Any:
    return next(family for family in families_of(merged) if family.name == name)


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
    OutboxMetrics(registry)
    assert registry.get_sample_value("vigil_outbox_pending") == 0
