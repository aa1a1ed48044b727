"""What the supervisor tells of its processes, its disks and its streams' freshness."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from ingest.activity import Activity
from vigil.freshness import Fresh, Freshness
from vigil.layout import Shard
from vigil.metrics import REMEMBERED_S, FreshnessCollector, ProcessCollector, SupervisorMetrics, Usage

NS = 1_000_000_000


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_a_process_tells_what_it_uses() -> None:
    with open(os.devnull) as extra:
        usage = Usage.of(os.getpid())
        assert usage is not None and usage.open_fds > extra.fileno() - 1
    assert usage.cpu_s > 0 and usage.threads >= 1 and usage.started_s > 0
    assert usage.resident_bytes > 1 << 20


def test_a_process_that_has_ended_tells_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert Usage.of(ended.pid) is None


def test_cpu_time_goes_on_where_a_replaced_process_left_it(monkeypatch: Any) -> None:
    spent = {1: 5.0, 2: 0.5, 3: 1.0}
    monkeypatch.setattr(Usage, "of", lambda pid: Usage(spent[pid], 1, 1, 1, 1.0) if pid in spent else None)
    pids, now_s = {"worker-0": 1}, 0.0
    registry = CollectorRegistry()
    registry.register(ProcessCollector(lambda: pids, lambda: now_s))

    def cpu_s() -> float | None:
        return value(registry, "vigil_process_cpu_seconds_total", process="worker-0")

    assert cpu_s() == 5.0
    spent[1] = 6.0
    assert cpu_s() == 6.0
    pids = {}
    assert cpu_s() is None
    pids = {"worker-0": 2}
    assert cpu_s() == 6.5
    spent[2] = 1.5
    assert cpu_s() == 7.5
    pids, now_s = {}, REMEMBERED_S
    assert cpu_s() is None
    pids = {"worker-0": 3}
    assert cpu_s() == 1.0, "after so long it is another"


def test_restarts_are_counted_by_kind_not_by_name(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry, dict, lambda _: {})

    def counted() -> dict[str, float | None]:
        return {kind: value(registry, "vigil_process_restarts_total", kind=kind)
                for kind in ("worker", "detector", "fork server", "bridges", "preview")}  # fmt: skip

    assert set(counted().values()) == {0}, "the first restart of each must be an increase"
    for process in ("worker-3", "worker-12", "detector-cars@cuda:1", "detector.2", "fork server", "bridges"):
        metrics.restarted(process)
    assert counted() == {"worker": 2, "detector": 2, "fork server": 1, "bridges": 1, "preview": 0}
    metrics.look_at_disks({"state": tmp_path, "media": tmp_path / "not there"})
    free = value(registry, "vigil_disk_free_bytes", folder="state")
    size = value(registry, "vigil_disk_size_bytes", folder="state")
    assert free is not None and size is not None and 0 < free < size
    assert value(registry, "vigil_disk_free_bytes", folder="media") is None


def test_one_revision_of_the_configuration_is_in_force() -> None:
    registry = CollectorRegistry()
    metrics = SupervisorMetrics(registry, dict, lambda _: {})
    metrics.configured("hq", "aaaa")
    metrics.configured("hq", "bbbb")
    assert value(registry, "vigil_config_info", site="hq", rev="aaaa") is None
    assert value(registry, "vigil_config_info", site="hq", rev="bbbb") == 1


def test_ages_are_those_of_the_scrape() -> None:
    now_ns = 10 * NS
    registry = CollectorRegistry()
    fresh = {"gate": Fresh(8 * NS, 7 * NS), "new": Fresh(10 * NS, 10 * NS + 1)}
    registry.register(FreshnessCollector(lambda _: fresh, lambda: now_ns))
    assert value(registry, "vigil_stream_last_frame_age_seconds", stream="gate") == 2
    assert value(registry, "vigil_stream_last_inference_age_seconds", stream="gate") == 3
    assert value(registry, "vigil_stream_last_inference_age_seconds", stream="new") == 0


def shard(activity: Activity | None, *streams: str) -> Shard:
    seats = {number: SimpleNamespace(order=SimpleNamespace(name=name)) for number, name in enumerate(streams)}
    return cast(Shard, SimpleNamespace(activity=activity, seats=seats))


def test_a_stream_ages_while_its_worker_is_replaced_and_when_it_moves() -> None:
    freshness, first, second = Freshness(), Activity.create(2), Activity.create(2)
    assert freshness.look(["gate"], [], 3 * NS) == {"gate": Fresh(3 * NS, 3 * NS)}, "since it is wanted"
    first.frame(1, 9 * NS)
    first.analysed(1, 8 * NS)
    was = {"gate": Fresh(9 * NS, 8 * NS)}
    assert freshness.look(["gate"], [shard(first, "yard", "gate")], 10 * NS) == was
    assert freshness.look(["gate"], [], 20 * NS) == was
    assert freshness.look(["gate"], [shard(None, "gate"), shard(second, "gate")], 21 * NS) == was
    second.frame(0, 22 * NS)
    assert freshness.look(["gate"], [shard(second, "gate")], 23 * NS) == {"gate": Fresh(22 * NS, 8 * NS)}
    assert freshness.look([], [shard(second, "gate")], 24 * NS) == {}
