"""Runs the real service for a measurement, as a user would start it, and reads what it cost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.clips import OUT

START_S = 120.0
NEWS_WITHIN_S, NEWS_POLL_S = 1.5, 0.05
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Reading:
    """The service's accounts at one moment.

    Attributes:
        at: monotonic seconds.
        cpu_s: CPU seconds so far, by role (worker, detector, preview, nats, supervisor).
        memory_bytes: proportional set size of all its processes.
        frames: by stream, then by outcome.
        stages: seconds and number of observations, by stage.
        totals: of each counter, by name, the sum of all its series.
    """

    at: float
    cpu_s: dict[str, float]
    memory_bytes: int
    frames: dict[str, dict[str, int]]
    stages: dict[str, tuple[float, int]]
    totals: dict[str, float]

    def outcomes(self) -> Counter[str]:
        """Frames of all streams by outcome."""
        total: Counter[str] = Counter()
        for outcomes in self.frames.values():
            total.update(outcomes)
        return total


class _Told(NamedTuple):
    """What `/metrics` says; as in `Reading`."""

    frames: dict[str, dict[str, int]]
    stages: dict[str, tuple[float, int]]
    totals: dict[str, float]


class Service:
    """`vigil run` on a config, in a folder of its own, with its own NATS server. A context manager."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="vigil-bench-")
        self._log = Path(self._folder.name) / "log"
        self._config = {
            "site": "bench", "state_dir": f"{self._folder.name}/state", "http": {"port": 0}, **config
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.nats = self.http = ""

    def __enter__(self) -> Service:
        file = Path(self._folder.name) / "vigil.yaml"
        file.write_text(yaml.safe_dump(self._config))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vigil.cli", "run", "-c", str(file)], stdout=log, stderr=log, cwd=ROOT
            )
        addresses = Path(self._folder.name) / "state" / "addresses.json"
        ends = time.monotonic() + START_S
        while not addresses.is_file():
            if self._process.poll() is not None or time.monotonic() > ends:
                log_text = self._log.read_text()[-3000:]
                self.__exit__(None, None, None)
                raise SystemExit(f"the service did not start:\n{log_text}")
            time.sleep(0.1)
        told = json.loads(addresses.read_text())
        self.nats, self.http = told["nats"], told["http"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._folder.cleanup()

    def log_text(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.http + path, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def wait_for_frames(self, per_stream: int, timeout_s: float = 120.0) -> None:
        """Until every stream had so many frames analysed: sources are open, models compiled, buffers touched."""
        ends = time.monotonic() + timeout_s
        while True:
            frames = _told(self.get("/metrics")).frames
            if len(frames) == len(self._config["streams"]) and all(
                outcomes["analysed"] >= per_stream for outcomes in frames.values()
            ):
                return
            if time.monotonic() > ends:
                raise SystemExit(f"streams do not deliver: {frames}\n{self._log.read_text()[-3000:]}")
            time.sleep(0.25)

    def read(self) -> Reading:
        """The accounts at a moment when frames have just been told of: workers do that once a second."""
        text, ends = self.get("/metrics"), time.monotonic() + NEWS_WITHIN_S
        known = _frames_of(text)
        while _frames_of(text) == known and time.monotonic() < ends:
            time.sleep(NEWS_POLL_S)
            text = self.get("/metrics")
        at, cpu_s, memory = time.monotonic(), defaultdict[str, float](float), 0
        assert self._process is not None
        for process in [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(True)]:
            with suppress(psutil.NoSuchProcess):  # some are short-lived
                times = process.cpu_times()
                cpu_s[_role(process)] += times.user + times.system
                memory += process.memory_full_info().pss
        told = _told(text)
        return Reading(at, dict(cpu_s), memory, told.frames, told.stages, told.totals)


def _frames_of(metrics: str) -> list[str]:
    """The lines about frames; without a parser, which would take from the service what is measured."""
    return [line for line in metrics.splitlines() if line.startswith("vigil_frames_total")]


def _told(text: str) -> _Told:
    frames: dict[str, dict[str, int]] = defaultdict(dict)
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    totals: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.endswith("_total"):
                totals[sample.name] += sample.value
            if sample.name == "vigil_frames_total":
                frames[sample.labels["stream"]][sample.labels["outcome"]] = int(sample.value)
            elif sample.name == "vigil_stage_seconds_sum":
                sums[sample.labels["stage"]] = sample.value
            elif sample.name == "vigil_stage_seconds_count":
                counts[sample.labels["stage"]] = int(sample.value)
    return _Told(dict(frames), {name: (sums[name], counts[name]) for name in sums}, dict(totals))


def _role(process: psutil.Process) -> str:
    line = " ".join(process.cmdline())
    return next((role for role in ("detector", "worker", "preview", "nats") if role in line), "supervisor")


def cores() -> int:
    return len(os.sched_getaffinity(0))


def save(name: str, result: dict[str, Any]) -> Path:
    """Writes `benchmarks/out/<name>.json`."""
    OUT.mkdir(parents=True, exist_ok=True)
    file = OUT / f"{name}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    return file
