"""What viewers of all streams take from analysis where it has nothing to spare: more than their pictures cost?

Four cameras over RTSP, 1080p25 H.264 at 4 Mbit/s, each picture wanted, YOLOv8n with all cores: more than the machine
can do. In turn nobody watches, one viewer watches each stream as the camera sends it, one each with burned-in boxes.

Encodes take CPU, viewers' processes too, as they run on the same machine. So fps must fall; `preview_verdict.py` says
whether it fell by more than that.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import median
from typing import Any

import nats
import numpy as np
import psutil
from rich.table import Table

from benchmarks.clips import RATE, data_folder, rated
from benchmarks.harness import ROOT, Reading, Service, cores
from benchmarks.preview_cameras import Cameras
from benchmarks.preview_verdict import Phase, judged, out_of_order, typical
from benchmarks.preview_viewers import Audience

STREAMS, MBIT_S = 4, 4.0
ROUNDS = 3
SETTLE_S = 2.0
# By which overload may make the slowest results slower (invariant 1); viewers are no more than that.
P99_TIMES = 2.0
WITHOUT = "without"
PHASES = (WITHOUT, "client", "burned")
HOLDS = {True: "yes", False: "NO", None: "too busy to tell"}


@dataclass(frozen=True, slots=True)
class _Span:
    """One phase: its accounts, and between which wall-clock times it was."""

    phase: Phase
    dropped: Counter[str]
    picture_ms: float  # of wall-clock time, of each with burned-in boxes
    began: float
    ended: float


def measure(seconds: float) -> dict[str, Any]:
    clips = [rated("carpark", MBIT_S), rated("crowd", MBIT_S)]
    spans: dict[str, list[_Span]] = {name: [] for name in PHASES}
    names = [f"s{n}" for n in range(STREAMS)]
    with Cameras({name: clips[n % 2] for n, name in enumerate(names)}) as cameras:
        config = {
            "detector": {"model": str(data_folder() / "weights" / "yolov8n.pt")},
            "preview": {"linger": 0},
            "streams": {name: {"url": cameras.urls[name]} for name in names},
        }
        with Service(config) as service, Audience(service.http) as audience:
            service.wait_for_frames(20)
            command = [sys.executable, "-m", "benchmarks.preview_load", service.nats]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as subscriber:
                for name in PHASES * ROUNDS:
                    with nullcontext() if name == WITHOUT else audience.watching(name, names):
                        time.sleep(SETTLE_S)
                        spans[name].append(_span(service, seconds))
                heard = json.loads(subscriber.communicate()[0])
    return _told(spans, heard)


def _span(service: Service, seconds: float) -> _Span:
    before, idle, began = service.read(), _idle_s(), time.time()
    time.sleep(seconds)
    after, idle, ended = service.read(), _idle_s() - idle, time.time()
    passed = after.at - before.at
    done = after.outcomes() - before.outcomes()

    def total(name: str) -> float:
        return after.totals.get(name, 0.0) - before.totals.get(name, 0.0)

    def stage() -> float:
        (at_first, few), (at_last, more) = (one.stages.get("preview", (0.0, 0)) for one in (before, after))
        return (at_last - at_first) / max(more - few, 1)

    phase = Phase(
        analysed=done["analysed"] / passed,
        decoded=done["decoded"] / passed,
        vigil=(_cpu_s(after) - _cpu_s(before)) / passed,
        idle=idle / (ended - began),
        detector=(after.cpu_s["detector"] - before.cpu_s["detector"]) / passed,
        drawing=total("vigil_preview_cpu_seconds_total") / passed,
        sending=(after.cpu_s.get("preview", 0.0) - before.cpu_s.get("preview", 0.0)) / passed,
    )
    dropped = Counter({outcome: count for outcome, count in done.items() if outcome.startswith("dropped")})
    return _Span(phase, dropped, stage() * 1e3, began, ended)


def _cpu_s(reading: Reading) -> float:
    return sum(reading.cpu_s.values())


def _idle_s() -> float:
    """Seconds in which the cores that we may use had nothing to do."""
    each = psutil.cpu_times(percpu=True)
    return sum(each[core].idle + each[core].iowait for core in os.sched_getaffinity(0))


def _told(spans: Mapping[str, Sequence[_Span]], heard: Sequence[Any]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "streams": STREAMS, "mbit_s": MBIT_S,
        "out_of_order": out_of_order([(stream, session, seq) for _, stream, session, seq, _ in heard]),
    }  # fmt: skip
    without = [one.phase for one in spans[WITHOUT]]
    for name, several in spans.items():
        phases = [one.phase for one in several]
        late = [age for at, *_, age in heard if any(one.began <= at < one.ended for one in several)]
        p50, p99 = np.percentile(late, [50, 99]).tolist()
        dropped = sum((one.dropped for one in several), Counter[str]())
        seconds = sum(one.ended - one.began for one in several)
        result[name] = {
            **{key: round(value, 3) for key, value in asdict(typical(phases)).items()},
            "p50_ms": round(p50, 1), "p99_ms": round(p99, 1),
            "dropped_per_s": {reason: round(count / seconds, 1) for reason, count in dropped.items()},
            "analysed_of_each": [round(one.analysed, 1) for one in phases],
        }  # fmt: skip
        if name == "burned":
            result[name]["picture_ms"] = round(median(one.picture_ms for one in several), 1)
        if name != WITHOUT:
            verdict = judged(phases, without, STREAMS * RATE)
            result[name] |= {
                key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(verdict).items()
            }
            times = p99 / result[WITHOUT]["p99_ms"]
            result[name] |= {"p99_of_without": round(times, 2), "latency_holds": times <= P99_TIMES}
    return result


def table(result: Mapping[str, Any]) -> Table:
    wrong = result["out_of_order"]
    shown = Table(title=f"{result['streams']} cameras, more than {cores()} cores can analyse; {wrong} out of order")
    for column in ("viewers", "fps", "fell by", "it had to", "holds", "cores: Vigil", "idle", "detector",
                   "drawing", "sending", "p50 ms", "p99 ms", "dropped a second"):  # fmt: skip
        shown.add_column(column)
    for name in PHASES:
        one = result[name]
        shown.add_row(
            name, f"{one['analysed']:.1f}",
            *((f"{one['fell']:.1%}", f"{one['explained']:.1%} ± {one['tolerance']:.1%}", HOLDS[one["holds"]])
              if name != WITHOUT else ("", "", "")),
            *(f"{one[key]:.2f}" for key in ("vigil", "idle", "detector", "drawing", "sending")),
            f"{one['p50_ms']:.0f}", f"{one['p99_ms']:.0f}{'' if one.get('latency_holds', True) else ' TOO MUCH'}",
            ", ".join(f"{reason.removeprefix('dropped_')} {count:g}" for reason, count in one["dropped_per_s"].items()),
        )  # fmt: skip
    return shown


async def _hear(url: str) -> list[tuple[float, str, int, int, float]]:
    """Of each result until the input ends: when it came, stream, session, seq, and its age in milliseconds."""
    heard: list[tuple[float, str, int, int, float]] = []

    async def take(message: Any) -> None:
        now, told = time.time(), json.loads(message.data)
        age_ms = (now - datetime.fromisoformat(told["captured_at"]).timestamp()) * 1e3
        heard.append((now, told["stream"], told["session"], told["seq"], age_ms))

    client = await nats.connect(url)
    await client.subscribe("vigil.bench.frames.*", cb=take)
    await asyncio.to_thread(sys.stdin.read)
    await client.close()
    return heard


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_hear(sys.argv[1]))))
