"""What metrics cost: a worker's report of a second, taking it in the supervisor, and a scrape.

`python -m benchmarks.scrape` prints milliseconds of CPU for 16 cameras in two workers, as they are after a while: five
classes, a zone, a line, some reconnects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest

from inference.metrics import DetectorMetrics
from ingest.ledger import Fate, FrameLedger
from ingest.reconnect import StreamState
from publish.metrics import MergedMetrics, OutboxMetrics, PublishMetrics, in_parts, snapshot
from tracking.events import EventType
from vigil.freshness import Fresh
from vigil.metrics import SupervisorMetrics
from vigil.services import WorkerMetrics
from vigil.worker import SAMPLES_PER_MESSAGE

WORKERS, STREAMS = 2, 8
CLASSES = ("person", "car", "bicycle", "truck", "dog")
RUNS = 50


def worker(number: int) -> WorkerMetrics:
    """As a worker's are after a while."""
    metrics = WorkerMetrics()
    for stream in (f"camera-{number * STREAMS + index}" for index in range(STREAMS)):
        ledger: FrameLedger[str, str] = FrameLedger()
        for fate in Fate:
            ledger.count(fate)
        metrics.ingest.ledgers.add(stream, ledger)
        for state in StreamState:
            metrics.ingest.state.labels(stream, state.value).set(state is StreamState.LIVE)
        metrics.ingest.begin(stream)
        metrics.publish.end_to_end.labels(stream).observe(0.05)
        metrics.tracking.active.labels(stream).set(3)
        metrics.tracking.zone_objects.labels(stream, "drive").set(1)
        for name in CLASSES:
            metrics.publish.detections.labels(stream, name).inc()
            metrics.tracking.zone_entries.labels(stream, "drive", name).inc()
            metrics.tracking.line_crossings.labels(stream, "exit", "left", name).inc()
        for event in EventType:
            metrics.publish.events.labels(stream, event.value).inc()
    for stage in ("decode", "letterbox", "track", "publish"):
        metrics.stage.labels(stage).observe(0.001)
    return metrics


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of this process for one run, the least of many."""
    best = float("inf")
    for _ in range(RUNS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return round(best * 1e3, 2)


def main() -> None:
    merged, own, detector = MergedMetrics(), CollectorRegistry(), CollectorRegistry()
    workers = [worker(number) for number in range(WORKERS)]
    streams = [f"camera-{number}" for number in range(WORKERS * STREAMS)]
    PublishMetrics(own)
    OutboxMetrics(own)
    SupervisorMetrics(own, lambda: {"supervisor": 1}, lambda now_ns: {name: Fresh(now_ns, now_ns) for name in streams})
    DetectorMetrics(detector)
    merged.live("supervisor", own)
    merged.update("detector", snapshot(detector))

    def report(metrics: WorkerMetrics) -> list[str]:
        parts = in_parts(snapshot(metrics.registry), SAMPLES_PER_MESSAGE)
        return [json.dumps({"families": families, "more": more}) for families, more in parts]

    def take(number: int, parts: list[str]) -> None:
        for part in parts:
            told = json.loads(part)
            merged.update(f"worker-{number}", told["families"], told["more"])

    reports = [report(metrics) for metrics in workers]
    for number, parts in enumerate(reports):
        take(number, parts)
    registry = CollectorRegistry()
    registry.register(merged)
    scraped = generate_latest(registry)
    print(json.dumps({
        "samples": sum(not line.startswith(b"#") for line in scraped.splitlines()),
        "scrape_bytes": len(scraped),
        "report_bytes": sum(map(len, reports[0])),
        "worker_report_ms": milliseconds(lambda: report(workers[0])),
        "supervisor_report_ms": milliseconds(lambda: take(0, reports[0])),
        "scrape_ms": milliseconds(lambda: generate_latest(registry)),
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
