"""Damaged streams into the path that decodes cameras: does it crash, hang or leak, and how fast is it?

`python -m benchmarks.fuzz [--streams 10000] [--first 0] [--processes 2]`

Each stream is made from its seed (benchmarks/fuzz_streams.py) and read as a worker reads a file that somebody watches:
source, camera's own packets, clock, letterbox, resizing. Child processes read, so that a crash is survived and told:
the seed says how to see it again (`--first SEED --streams 1`).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.fuzz_streams import FORMATS, SIZES, damaged, healthy
from benchmarks.harness import ROOT, cores, save
from inference.letterbox import Letterbox
from ingest.clock import MediaClock
from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.live import LivePacket, LivePackets
from ingest.shrink import Shrinker
from ingest.sources import open_source
from ingest.sources.container import Container

IMAGE_SIZE = 320
# A stream of 1.6 s that is not done by now hangs.
HANGS_S = 60.0
# Buffers and caches have found their size after this part of the run.
SETTLED = 0.3


@dataclass(frozen=True, slots=True)
class Read:
    """What became of one stream. `failure` is a reason, or the type of an error that is none of ours."""

    seed: int
    name: str
    damage: str
    frames: int
    failure: str | None
    expected: bool
    seconds: float
    memory_mb: float


@dataclass(slots=True)
class Report:
    """What became of all of them. `crashed`, `hung` and `unexpected` name seeds."""

    streams: int = 0
    frames: int = 0
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    crashed: dict[int, str] = field(default_factory=dict)
    hung: list[int] = field(default_factory=list)
    unexpected: dict[int, str] = field(default_factory=dict)
    slowest_s: float = 0.0
    slowest_seed: int = 0
    memory_mb: dict[int, list[tuple[int, float]]] = field(default_factory=dict)  # by process: streams so far, memory

    def add(self, process: int, read: Read) -> None:
        self.streams += 1
        self.frames += read.frames
        self.failures[read.failure or "none"] += 1
        if not read.expected:
            self.unexpected[read.seed] = f"{read.failure} ({read.name}, {read.damage})"
        if read.seconds > self.slowest_s:
            self.slowest_s, self.slowest_seed = read.seconds, read.seed
        course = self.memory_mb.setdefault(process, [])
        course.append((len(course), read.memory_mb))

    def growth_mb(self) -> float:
        """MB per 1000 streams in one process, once settled: the largest of the processes."""
        slopes = []
        for course in self.memory_mb.values():
            settled = np.array(course[int(len(course) * SETTLED) :])
            if len(settled) > 10:
                slopes.append(float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0]) * 1000)
        return max(slopes, default=0.0)


def read(seed: int, streams: dict[str, tuple[bytes, bytes]], folder: Path) -> Read:
    """Reads one damaged stream to its end, as a worker would."""
    name, damage, data = damaged(seed, streams)
    path = folder / f"stream{Path(name).suffix}"
    path.write_bytes(data)
    frames, failure, expected = 0, None, True
    shrinker = Shrinker()
    began = time.perf_counter()
    try:
        opening = open_source(SourceConfig(url=str(path), pace="fast"))
        assert isinstance(opening, Container)
        opening.taps = [live := LivePackets()]
        live.watch(_Viewer())
        with opening as source:
            clock = MediaClock(source.frame_rate)
            last_ns = -1
            for image in source.frames():
                pts_ns = clock.read(image.pts, image.time_base)
                assert pts_ns > last_ns, "media time went back"
                last_ns = pts_ns
                letterbox = Letterbox.fit(image.width, image.height, IMAGE_SIZE)
                slot = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
                shrinker.shrink(image, slot, letterbox.place)
                frames += 1
    except SourceError as error:
        failure = error.reason.value
    except Exception as error:
        failure, expected = f"{type(error).__name__}: {error}", False
    return Read(seed, name, damage, frames, failure, expected, time.perf_counter() - began, _memory_mb())


class _Viewer:
    """Somebody watches the camera's own packets."""

    def packet(self, packet: LivePacket, backlog: bool) -> None:
        assert packet.data, "a packet holds something"

    def unplayable(self, why: str) -> None: ...


def _memory_mb() -> float:
    """This process's own memory, without what is mapped from files."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3


def _read_all(seeds: range) -> None:
    """The child: a line before and one after each stream."""
    with tempfile.TemporaryDirectory(prefix="vigil-fuzz-") as name:
        folder = Path(name)
        streams = {kind: (healthy(kind, SIZES[0], folder), healthy(kind, SIZES[1], folder)) for kind in FORMATS}
        for seed in seeds:
            print(json.dumps({"seed": seed}), flush=True)
            print(json.dumps(asdict(read(seed, streams, folder))), flush=True)


def _start(seeds: range) -> subprocess.Popen[str]:
    task = f"{seeds.start},{seeds.stop},{seeds.step}"
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fuzz", "--child", task],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def _lines(child: subprocess.Popen[str]) -> Iterator[dict[str, Any] | None]:
    """What the child says; None when it says nothing for too long."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            said.put(line)
        said.put("")

    threading.Thread(target=listen, daemon=True).start()
    while True:
        try:
            line = said.get(timeout=HANGS_S)
        except queue.Empty:
            yield None
            return
        if not line:
            return
        yield json.loads(line)


def _supervise(process: int, seeds: range, report: Report, done: queue.SimpleQueue[int]) -> None:
    """Has the seeds read by children, a new one after each crash."""
    while seeds:
        child = _start(seeds)
        at: int | None = None
        hangs = False
        for line in _lines(child):
            if line is None:
                hangs = True
                child.kill()
                break
            if "frames" in line:
                report.add(process, Read(**line))
                done.put(1)
            at = line["seed"]
        code = child.wait()
        if code == 0:
            return
        if at is None:
            report.crashed[seeds.start] = f"exit {code} before the first stream"
            return
        if hangs:
            report.hung.append(at)
        else:
            report.crashed[at] = signal.Signals(-code).name if code < 0 else f"exit {code}"
        done.put(1)
        report.memory_mb.pop(process, None)  # a new process starts from new
        seeds = range(at + seeds.step, seeds.stop, seeds.step)


def fuzz(first: int, streams: int, processes: int) -> Report:
    """Reads the streams of the seeds from `first` on."""
    report = Report()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    began = time.monotonic()
    # Formats take turns by seed; a process must not get one format only.
    share = -(-streams // processes)
    parts = [range(start, min(start + share, first + streams)) for start in range(first, first + streams, share)]
    threads = [
        threading.Thread(target=_supervise, args=(n, part, report, done), daemon=True) for n, part in enumerate(parts)
    ]
    for thread in threads:
        thread.start()
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        task = progress.add_task("reading damaged streams", total=streams)
        while any(thread.is_alive() for thread in threads):
            try:
                progress.update(task, advance=done.get(timeout=0.5))
            except queue.Empty:
                continue
    report.seconds = time.monotonic() - began
    return report


def main(
    streams: Annotated[int, typer.Option(help="How many.")] = 10_000,
    first: Annotated[int, typer.Option(help="The first one's seed.")] = 0,
    processes: Annotated[int, typer.Option(help="How many read at once; 0: one for each core.")] = 0,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if child:
        _read_all(range(*map(int, child.split(","))))
        sys.stdout.flush()
        os._exit(0)
    report = fuzz(first, streams, processes or cores())
    result = {
        "streams": report.streams,
        "frames": report.frames,
        "streams_per_s": round(report.streams / report.seconds, 1),
        "crashed": report.crashed,
        "hung": report.hung,
        "unexpected": report.unexpected,
        "ends": dict(report.failures.most_common()),
        "slowest_s": round(report.slowest_s, 2),
        "slowest_seed": report.slowest_seed,
        "growth_mb_per_1000": round(report.growth_mb(), 2),
    }
    Console(width=120).print(result)
    Console().print(f"written to {save('fuzz', result)}")


if __name__ == "__main__":
    typer.run(main)
