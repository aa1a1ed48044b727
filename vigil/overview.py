"""How the service and its machine are doing, for people: the supervisor's answer to `/api/v1/system`."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from publish.api.system import DetectorState, DeviceState, ProcessState, StageState, StreamFigures, System
from publish.figures import Figures, Labels
from publish.metrics import MergedMetrics
from vigil import __version__
from vigil.layout import DetectorPlace

READ_S = 1.0
STAGE = frozenset({"vigil_stage_seconds"})
LATENCY = "vigil_end_to_end_seconds"


@dataclass(frozen=True, slots=True)
class Sights:
    """Where the overview looks: each is asked when it is needed."""

    site: str
    metrics: MergedMetrics
    pids: Callable[[], Mapping[str, int]]
    places: Callable[[], Sequence[DetectorPlace]]
    streams: Callable[[], Sequence[Mapping[str, Any]]]
    nats: Callable[[], str]
    viewers: Callable[[], dict[str, int]]


class Overview:
    """Lives in the supervisor's loop. `read` is called every second."""

    def __init__(self, sights: Sights) -> None:
        self._sights = sights
        self._began_s = time.monotonic()
        self._figures = Figures()
        self._of_detectors: dict[str, Figures] = {}
        self._machine = Machine()

    def read(self, now_s: float) -> None:
        self._figures.read(self._sights.metrics, now_s)
        self._machine.read()
        names = {place.name for place in self._sights.places()}
        self._of_detectors = {name: self._of_detectors.get(name) or Figures(STAGE, name) for name in names}
        for figures in self._of_detectors.values():
            figures.read(self._sights.metrics, now_s)

    def told(self) -> System:
        metrics, figures = self._sights.metrics, self._figures
        stages = figures.quantiles("vigil_stage_seconds", "stage", (0.5, 0.95))
        return System(
            version=__version__,
            site=self._sights.site,
            uptime_s=round(time.monotonic() - self._began_s, 1),
            window_s=round(figures.span_s, 1),
            nats=self._sights.nats(),
            outbox_pending=int(metrics.value("vigil_outbox_pending")),
            viewers=self._sights.viewers(),
            processes=self._processes(),
            devices=[self._machine.told(), *self._gpus()],
            detectors=[self._detector(place) for place in self._sights.places()],
            stages=[StageState(stage=name, p50_s=p50, p95_s=p95) for name, (p50, p95) in sorted(stages.items())],
            streams=self._streams(),
        )

    def _processes(self) -> list[ProcessState]:
        cores = _by("process", self._figures.rates("vigil_process_cpu_seconds_total"))
        memory = _by("process", self._figures.totals("vigil_process_resident_bytes"))
        return [
            ProcessState(name=name, pid=pid, cpu=_rounded(cores.get(name)), memory_bytes=int(memory.get(name, 0)))
            for name, pid in self._sights.pids().items()
        ]

    def _gpus(self) -> list[DeviceState]:
        totals = self._figures.totals
        busy = _by("gpu", totals("vigil_gpu_busy_ratio"))
        used, there = _by("gpu", totals("vigil_gpu_memory_used_bytes")), _by("gpu", totals("vigil_gpu_memory_bytes"))
        known = sorted((dict(labels) for labels in totals("vigil_gpu_info")), key=lambda labels: labels["gpu"])
        return [
            DeviceState(
                name=f"cuda:{one['gpu']}",
                description=f"{one['name']}, driver {one['driver']}",
                utilisation=busy.get(one["gpu"]),
                memory_bytes=int(there.get(one["gpu"], 0)) or None,
                memory_used_bytes=int(used.get(one["gpu"], 0)) or None,
            )
            for one in known
        ]

    def _detector(self, place: DetectorPlace) -> DetectorState:
        model, figures = place.model, self._of_detectors.get(place.name)
        fps = utilisation = None
        if figures is not None and place.ready:
            fps = figures.rates("vigil_stage_seconds_count").get((("stage", "wait"),))
            busy = _by("process", self._figures.rates("vigil_detector_busy_seconds_total")).get(place.name)
            threads = _by("process", self._figures.totals("vigil_detector_threads")).get(place.name)
            utilisation = min(1.0, busy / threads) if busy is not None and threads else None
        return DetectorState(
            name=place.name,
            ready=place.ready,
            model=model and model.name,
            hash=model and model.hash,
            runtime=model and model.runtime,
            precision=model and model.precision,
            device=model and model.device,
            image_size=model and model.image_size,
            fps=_rounded(fps),
            utilisation=_rounded(utilisation),
        )

    def _streams(self) -> list[StreamFigures]:
        totals, rates = (
            _by_stream(self._figures.totals("vigil_frames_total")),
            self._figures.rates("vigil_frames_total"),
        )
        frame_rates = _by_stream(rates)
        packet_rates = _by_stream(self._figures.rates("vigil_packets_total"))
        latencies = self._figures.quantiles(LATENCY, "stream", (0.5, 0.99))
        known = self._figures.span_s >= READ_S
        told = []
        for stream in self._sights.streams():
            name = stream["id"]
            frames = {outcome: int(count) for outcome, count in totals.get(name, {}).items()}
            a_second = frame_rates.get(name, {})
            arrived = a_second.get("decoded", 0.0) + sum(packet_rates.get(name, {}).values())
            p50, p99 = latencies.get(name, (None, None))
            told.append(StreamFigures(
                id=name,
                state=stream["state"],
                reason=stream.get("reason"),
                analysed_fps=_rounded(a_second.get("analysed", 0.0)) if known else None,
                camera_fps=_rounded(arrived) if known else None,
                latency_p50_s=p50,
                latency_p99_s=p99,
                tracks=stream["tracks"],
                frames=frames,
                dropped={outcome.removeprefix("dropped_"): count for outcome, count in frames.items()
                         if outcome.startswith("dropped_")},
            ))  # fmt: skip
        return told


class Machine:
    """What is left of the machine, by differences between two looks at /proc."""

    def __init__(self) -> None:
        self._cores = len(os.sched_getaffinity(0))
        self._before = self._now = _cpu_ticks()

    def read(self) -> None:
        self._before, self._now = self._now, _cpu_ticks()

    def told(self) -> DeviceState:
        busy, all_of_it = (now - before for now, before in zip(self._now, self._before, strict=True))
        memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        there, free = (1024 * int(memory[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return DeviceState(
            name="cpu",
            description=f"{self._cores} {'core' if self._cores == 1 else 'cores'}, {platform.machine()}",
            utilisation=round(busy / all_of_it, 3) if all_of_it else None,
            memory_bytes=there,
            memory_used_bytes=there - free,
        )


def _cpu_ticks() -> tuple[int, int]:
    """Of all cores since the machine's start: busy, and all (proc(5): the 4th and 5th of them are idle)."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _by(label: str, samples: Mapping[Labels, float]) -> dict[str, float]:
    return {dict(labels)[label]: value for labels, value in samples.items()}


def _by_stream(samples: Mapping[Labels, float]) -> dict[str, dict[str, float]]:
    """By stream and outcome."""
    told: dict[str, dict[str, float]] = {}
    for labels, value in samples.items():
        of = dict(labels)
        told.setdefault(of["stream"], {})[of["outcome"]] = value
    return told


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
