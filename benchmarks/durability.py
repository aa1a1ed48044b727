"""Kills everything that events pass through, and counts what arrives: nothing may be lost, doubled or out of order.

`python -m benchmarks.durability [--only nats_killed] [--short]`

Processes promise events as workers do, another delivers them as the supervisor does, over a real NATS server; a durable
consumer reads. An event counts as promised when the process that made it was told that it is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import nats
import nats.errors
import typer
from nats.js.api import AckPolicy, ConsumerConfig
from rich.console import Console
from rich.table import Table

from benchmarks.durability_processes import SITE, SUBJECTS
from benchmarks.durability_proxy import Answers, Proxy
from benchmarks.harness import save
from publish.schema import EVENT
from publish.subjects import EVENTS_STREAM
from publish.trouble import FAILURES
from tests.publish.servers import Server

RATE = 500.0
DISK_BYTES = 24 << 20
# JetStream knows a message again for so long.
DUPLICATES_S = 1.0
LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
ARRIVE_S = 60.0
console = Console()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario did to the events."""

    published: int
    received: int
    lost: int
    duplicated: int
    out_of_order: int

    @property
    def well(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order)


@dataclass(slots=True)
class Writer:
    """A process that promises events."""

    run: int
    process: subprocess.Popen[str]
    promised: int = 0
    reading: threading.Thread | None = None

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip().isdigit():
                self.promised = int(line)


@dataclass(slots=True)
class Reader:
    """A durable consumer in a thread of its own; `pause_s` makes it slow."""

    url: str
    pause_s: float = 0.0
    seen: dict[int, str] = field(default_factory=dict)  # event id by its number in the JetStream stream
    latencies_s: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    async def _read(self) -> None:
        client = await nats.connect(self.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore)
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=5, max_ack_pending=4096)
        subscription = None
        while not self._stop.is_set():
            try:
                if subscription is None:
                    subscription = await client.jetstream().pull_subscribe(
                        SUBJECTS.all_events, durable="reader", stream=EVENTS_STREAM, config=config
                    )
                for message in await subscription.fetch(256, timeout=0.5):
                    event = EVENT.validate_json(message.data)
                    self.seen[message.metadata.sequence.stream] = event.event_id
                    self.latencies_s.append(time.time() - event.captured_at.timestamp())
                    await message.ack()
                await asyncio.sleep(self.pause_s)
            except FAILURES:
                await asyncio.sleep(0.05)
        await client.close()


class Trial:
    """One scenario's processes and what they have said."""

    def __init__(self, folder: Path, rate: float) -> None:
        self.folder = folder
        self.rate = rate
        (folder / "nats").mkdir()
        self.server = Server(folder / "nats")
        self.server.start()
        self.reader = Reader(self.server.url)
        self.writers: list[Writer] = []
        self.delivering: subprocess.Popen[bytes] | None = None
        self.proxy = Proxy(self.server.port)
        self.env = dict(os.environ)

    def write(self) -> Writer:
        """Another process that promises events, after those before it."""
        run = len(self.writers) + 1
        process = subprocess.Popen(
            [*_python("write"), str(self.state), str(self.rate), str(run)],
            stdout=subprocess.PIPE, stderr=self._log("write"), text=True, env=self.env,
        )  # fmt: skip
        writer = Writer(run, process)
        writer.reading = threading.Thread(target=writer.read, daemon=True)
        writer.reading.start()
        self.writers.append(writer)
        until(lambda: writer.promised > 0, 30)
        return writer

    def deliver(self) -> None:
        command = [*_python("deliver"), str(self.state), self.proxy.url]
        self.delivering = subprocess.Popen(command, stderr=self._log("deliver"), env=self.env)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def _log(self, name: str) -> int:
        return os.open(self.folder / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def set_clock(self, offset_s: int) -> None:
        """Vigil's clock is so far from the true one; before the first call, processes have the machine's own."""
        assert LIBFAKETIME is not None
        part = self.folder / "clock.part"
        part.write_text(f"{offset_s:+d}\n")
        part.replace(self.folder / "clock")
        self.env |= {
            "LD_PRELOAD": str(LIBFAKETIME), "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    async def forgetful_stream(self) -> None:
        """An events stream that knows messages again for `DUPLICATES_S` only."""
        client = await nats.connect(self.server.url)
        await client.jetstream().add_stream(
            name=EVENTS_STREAM, subjects=["vigil.*.events.>"], duplicate_window=DUPLICATES_S
        )
        await client.close()

    def kill_writer(self) -> None:
        writer = self.writers[-1]
        writer.process.kill()
        self._ended(writer)

    def kill_delivery(self) -> None:
        assert self.delivering is not None
        self.delivering.kill()
        self.delivering.wait()

    @staticmethod
    def _ended(writer: Writer) -> None:
        writer.process.wait()
        assert writer.reading is not None
        writer.reading.join()

    def finish(self) -> Outcome:
        """Lets the last writer end, and waits for what was promised."""
        last = self.writers[-1]
        if last.process.poll() is None:
            last.process.send_signal(signal.SIGTERM)
        self._ended(last)
        promised = {event_id(writer.run, number) for writer in self.writers for number in range(writer.promised)}
        with contextlib.suppress(TimeoutError):
            until(lambda: promised <= set(self.reader.seen.values()), ARRIVE_S)
        return judged(promised, self.reader.seen)

    def close(self) -> None:
        self.reader.stop()
        for process in [writer.process for writer in self.writers] + [self.delivering]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.proxy.close()
        self.server.stop()


def event_id(run: int, number: int) -> str:
    return f"{SITE}-cam{number % 4}-{run}-{number}-line.crossed"


def judged(promised: set[str], seen: dict[int, str]) -> Outcome:
    """`seen` has the events by their numbers in the stream."""
    arrived = [seen[number] for number in sorted(seen)]
    counts = Counter(arrived)
    newest: dict[str, tuple[int, int]] = {}
    out_of_order = 0
    for one in dict.fromkeys(arrived):
        _, stream, run, number, _ = one.split("-")
        place = int(run), int(number)
        out_of_order += place < newest.get(stream, place)
        newest[stream] = max(newest.get(stream, place), place)
    return Outcome(
        published=len(promised), received=len(counts), lost=len(promised - counts.keys()),
        duplicated=sum(counts.values()) - len(counts), out_of_order=out_of_order,
    )  # fmt: skip


def until(condition: Callable[[], object], timeout_s: float) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > ends:
            raise TimeoutError
        time.sleep(0.02)


def _python(command: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.durability_processes", command]


async def _ignore(error: Exception) -> None:
    await asyncio.sleep(0)


# -- the scenarios; `size` is 1 for the whole of one


def nats_killed(trial: Trial, size: float) -> None:
    """Ten times, at any moment, for up to two seconds."""
    for _ in range(max(2, round(10 * size))):
        time.sleep(random.uniform(0.2, 2.0) * max(size, 0.2))
        trial.server.stop()
        time.sleep(random.uniform(0.0, 2.0) * max(size, 0.2))
        trial.server.start()


def nats_away(trial: Trial, size: float) -> None:
    """For two minutes."""
    time.sleep(1)
    trial.server.stop()
    time.sleep(120 * size)
    trial.server.start()


def worker_killed(trial: Trial, size: float) -> None:
    """Twenty times, in the middle of writing."""
    for _ in range(max(2, round(20 * size))):
        time.sleep(random.uniform(0.05, 0.5))
        trial.kill_writer()
        trial.write()


def supervisor_killed(trial: Trial, size: float) -> None:
    """Ten times, in the middle of sending."""
    for _ in range(max(2, round(10 * size))):
        time.sleep(random.uniform(1.5, 3.0))
        trial.kill_delivery()
        trial.deliver()


def all_killed(trial: Trial, size: float) -> None:
    """Writer, sender and server, in turn and at once."""
    for turn in range(max(2, round(6 * size))):
        time.sleep(random.uniform(0.5, 1.5))
        if turn % 3 != 0:
            trial.server.stop()
        if turn % 3 != 1:
            trial.kill_delivery()
        if turn % 3 != 2:
            trial.kill_writer()
            trial.write()
        if turn % 3 != 1:
            trial.deliver()
        if turn % 3 != 0:
            trial.server.start()


def slow_consumer(trial: Trial, size: float) -> None:
    """One that reads fewer than are made."""
    time.sleep(20 * size)
    trial.reader.pause_s = 0.0


def acks_doubled(trial: Trial, size: float) -> None:
    """All of them."""
    trial.proxy.answers = Answers.COME_TWICE
    time.sleep(20 * size)


def acks_lost(trial: Trial, size: float) -> None:
    """Some, and then all for so long that JetStream has forgotten what it has."""
    trial.proxy.answers = Answers.SOME_LOST
    time.sleep(10 * size)
    for _ in range(max(1, round(3 * size))):
        trial.proxy.answers = Answers.LOST
        time.sleep(0.5)
        trial.proxy.cut()
        trial.server.stop()
        time.sleep(3 * DUPLICATES_S)
        trial.server.start()
        trial.proxy.answers = Answers.FLOW
        time.sleep(1)


def disk_full(trial: Trial, size: float) -> None:
    """For ten seconds."""
    time.sleep(2)
    filling = trial.state / "filling"
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    time.sleep(10 * size)
    filling.unlink()


def clock_stepped(trial: Trial, size: float) -> None:
    """Vigil's, not the NATS server's: an hour back, two days forward, and right again."""
    for offset_s in (-3600, 2 * 86400, 0):
        time.sleep(5 * size)
        trial.set_clock(offset_s)
    time.sleep(2)


SCENARIOS = {one.__name__: one for one in (
    nats_killed, nats_away, worker_killed, supervisor_killed, all_killed, slow_consumer, acks_doubled, acks_lost,
    disk_full, clock_stepped,
)}  # fmt: skip


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system in memory of `DISK_BYTES` in place of the folder; only root can have one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def trial_of(name: str, rate: float) -> Iterator[Trial]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-durability-")))
        (folder / "state").mkdir()
        if name == "disk_full":
            stack.enter_context(small_disk(folder / "state"))
        trial = Trial(folder, rate)
        stack.callback(trial.close)
        if name == "slow_consumer":
            trial.reader.pause_s = 1.0
        if name == "acks_lost":
            asyncio.run(trial.forgetful_stream())
        if name == "clock_stepped":
            trial.set_clock(0)
        yield trial


def impossible(name: str) -> str | None:
    """Why a scenario cannot be played here."""
    if name == "disk_full" and os.geteuid() != 0:
        return "only root can mount a small disk"
    if name == "clock_stepped" and LIBFAKETIME is None:
        return "libfaketime is not installed (Debian: faketime)"
    return None


def play(name: str, size: float = 1.0, rate: float = RATE) -> Outcome:
    """One scenario from its beginning to its end."""
    with trial_of(name, rate) as trial:
        trial.deliver()
        trial.write()
        trial.reader.start()
        SCENARIOS[name](trial, size)
        return trial.finish()


def main(
    only: Annotated[list[str] | None, typer.Option(help="A scenario; may be repeated")] = None,
    short: Annotated[bool, typer.Option(help="A tenth of it")] = False,
) -> None:
    found: dict[str, Outcome] = {}
    table = Table("scenario", "published", "received", "lost", "duplicated", "out of order")
    for name in only or list(SCENARIOS):
        if why := impossible(name):
            console.print(f"{name} is not played: {why}")
            continue
        with console.status(name):
            one = found[name] = play(name, 0.1 if short else 1.0)
        table.add_row(name, *map(str, asdict(one).values()))
    console.print(table)
    lost, duplicated = (sum(getattr(one, what) for one in found.values()) for what in ("lost", "duplicated"))
    console.print(f"lost {lost}, duplicated {duplicated}")
    if not only:
        save("durability", {name: asdict(one) for name, one in found.items()})
    raise SystemExit(0 if all(one.well for one in found.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
