"""What the supervisor tells of the service as a whole: its processes, disks and GPUs, and how fresh its streams are."""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference.metrics import GpuCollector
from vigil import __version__
from vigil.freshness import Fresh

NS = 1_000_000_000
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# What a process has used is remembered for as long as another may come in its place.
REMEMBERED_S = 60.0
# worker-3, detector-cars@cuda:1 and detector.2 are a worker and detectors.
KIND = re.compile(r"[a-z ]+")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used until now."""

    cpu_s: float
    resident_bytes: int
    threads: int
    open_fds: int
    started_s: float  # after the machine's start

    @classmethod
    def of(cls, pid: int) -> Usage | None:
        """None: it has just ended."""
        folder = Path("/proc", str(pid))
        try:
            # What follows the program's name, which may hold anything; proc(5) counts from the process id, 1.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            open_fds = len(os.listdir(folder / "fd"))
        except OSError:
            return None
        return cls(
            cpu_s=(int(fields[11]) + int(fields[12])) / TICKS,
            resident_bytes=int(fields[21]) * PAGE_BYTES,
            threads=int(fields[17]),
            open_fds=open_fds,
            started_s=int(fields[19]) / TICKS,
        )


class SupervisorMetrics:
    def __init__(
        self, registry: CollectorRegistry, pids: Callable[[], Mapping[str, int]],
        freshness: Callable[[int], Mapping[str, Fresh]],
    ) -> None:  # fmt: skip
        """`pids` says which processes there are, by name; `freshness` what of the streams is how old at a time."""
        build = Gauge("vigil_build_info", "1 for the version that runs.", ["version", "python"], registry=registry)
        build.labels(__version__, platform.python_version()).set(1)
        self._config = Gauge(
            "vigil_config_info", "1 for the site and the revision of the configuration in force.", ["site", "rev"],
            registry=registry,
        )  # fmt: skip
        self._restarts = Counter(
            "vigil_process_restarts", "Processes that ended unasked, and were started again.", ["kind"],
            registry=registry,
        )  # fmt: skip
        for kind in ("worker", "detector", "bridges", "preview", "fork server"):
            self._restarts.labels(kind)  # Prometheus takes the first value of a series for no increase
        self._free = Gauge("vigil_disk_free_bytes", "Free bytes where a folder is.", ["folder"], registry=registry)
        self._size = Gauge("vigil_disk_size_bytes", "Bytes that the disk of a folder has.", ["folder"],
                           registry=registry)  # fmt: skip
        self.gpus = GpuCollector()
        registry.register(self.gpus)
        registry.register(ProcessCollector(pids))
        registry.register(FreshnessCollector(freshness))

    def configured(self, site: str, revision: str) -> None:
        self._config.clear()
        self._config.labels(site, revision).set(1)

    def restarted(self, process: str) -> None:
        kind = KIND.match(process)
        self._restarts.labels(kind[0] if kind else "other").inc()

    def look_at_disks(self, folders: Mapping[str, Path]) -> None:
        """Asks the disks, which may take long where one is a network's. For a thread."""
        for name, folder in folders.items():
            try:
                usage = shutil.disk_usage(folder)
            except OSError:  # it has not been made yet, or is away
                continue
            self._free.labels(name).set(usage.free)
            self._size.labels(name).set(usage.total)


class ProcessCollector(Collector):
    """Reads /proc at the scrape. A process that takes another's place goes on counting where that one ended."""

    def __init__(self, pids: Callable[[], Mapping[str, int]], clock: Callable[[], float] = time.monotonic) -> None:
        self._pids = pids
        self._clock = clock
        self._spent: dict[str, _Spent] = {}
        self._booted_s = _booted_s()

    def collect(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "vigil_process_cpu_seconds", "CPU time of a process and those before it.", labels=["process"]
        )
        resident = GaugeMetricFamily(
            "vigil_process_resident_bytes",
            "Memory of a process, of which it may share some with others.",
            labels=["process"],
        )
        threads = GaugeMetricFamily("vigil_process_threads", "Threads of a process.", labels=["process"])
        fds = GaugeMetricFamily("vigil_process_open_fds", "Open file descriptors of a process.", labels=["process"])
        started = GaugeMetricFamily(
            "vigil_process_start_time_seconds",
            "When a process started, in seconds since the epoch.",
            labels=["process"],
        )
        now_s = self._clock()
        for name, pid in self._pids().items():
            usage = Usage.of(pid)
            if usage is None:
                continue
            cpu.add_metric([name], self._total_s(name, pid, usage.cpu_s, now_s))
            resident.add_metric([name], usage.resident_bytes)
            threads.add_metric([name], usage.threads)
            fds.add_metric([name], usage.open_fds)
            started.add_metric([name], self._booted_s + usage.started_s)
        self._spent = {name: spent for name, spent in self._spent.items() if now_s - spent.seen_s < REMEMBERED_S}
        yield from (cpu, resident, threads, fds, started)

    def _total_s(self, name: str, pid: int, cpu_s: float, now_s: float) -> float:
        known = self._spent.get(name)
        before_s = 0.0 if known is None else known.before_s if known.pid == pid else known.before_s + known.own_s
        self._spent[name] = _Spent(pid, before_s, cpu_s, now_s)
        return before_s + cpu_s


@dataclass(frozen=True, slots=True)
class _Spent:
    """CPU time of a process, and of those of its name before it, as last seen."""

    pid: int
    before_s: float
    own_s: float
    seen_s: float


class FreshnessCollector(Collector):
    """Ages at the scrape, as workers have told them through shared memory: true also of one that hangs."""

    def __init__(
        self, freshness: Callable[[int], Mapping[str, Fresh]], clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._freshness = freshness
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        frame = GaugeMetricFamily(
            "vigil_stream_last_frame_age_seconds",
            "Since the last frame was decoded; without any, since the stream is wanted.",
            labels=["stream"],
        )
        inference = GaugeMetricFamily(
            "vigil_stream_last_inference_age_seconds",
            "Since what is in a frame was last told; without any, since the stream is wanted.",
            labels=["stream"],
        )
        now_ns = self._clock()
        for stream, fresh in self._freshness(now_ns).items():
            frame.add_metric([stream], max(0, now_ns - fresh.frame_ns) / NS)
            inference.add_metric([stream], max(0, now_ns - fresh.analysed_ns) / NS)
        yield frame
        yield inference


def _booted_s() -> float:
    """When the machine started, in seconds since the epoch."""
    lines = Path("/proc/stat").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))
