"""What a fault did: to the stream, to its neighbours, and to what the service holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.faults_cameras import FPS, Camera, Fault
from tests.e2e.real import Inbox, Running

QUIET_S = 4.0
DETECTED_WITHIN_S = 20.0
RECOVERED_WITHIN_S = 60.0
# After recovery: what was held for the fault is let go of.
SETTLE_S = 1.5
# Memory that changes by less than this in a second stands still.
STILL_MB = 1.0
POLL_S = 0.02
HOLDERS = ("fork server", "worker", "detector")


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the supervisor, detector and workers hold: memory of their own, descriptors, threads, shared blocks.

    Memory is the proportional share of what is not backed by files: code that other programs happen to map as well
    would come and go with them.
    """

    memory_mb: float
    fds: int
    threads: int
    shared: int

    @classmethod
    def of(cls, service: Running) -> Holdings:
        while True:
            roles = service.children()
            pids = [service.process.pid, *(process.pid for role in HOLDERS for process in roles[role])]
            try:
                return cls.of_processes(pids)
            except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
                continue  # a worker ended meanwhile

    @classmethod
    def of_processes(cls, pids: list[int]) -> Holdings:
        processes = [psutil.Process(pid) for pid in pids]
        return cls(
            sum(_own_kb(pid) for pid in pids) / 1e3,
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            len(os.listdir("/dev/shm")) + sum(_memory_files(pid) for pid in pids),
        )

    @classmethod
    def when_settled(cls, service: Running, timeout_s: float = 30.0) -> Holdings:
        """As `of`, once they stand still: what starts loads for seconds."""
        ends = time.monotonic() + timeout_s
        last = cls.of(service)
        while time.monotonic() < ends:
            time.sleep(1.0)
            now = cls.of(service)
            if abs(now.memory_mb - last.memory_mb) < STILL_MB and now.threads == last.threads:
                return now
            last = now
        return last


def _own_kb(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        fields = dict(line.split(":", 1) for line in rollup if line.startswith("Pss_"))
    return sum(int(fields[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem"))


def _memory_files(pid: int) -> int:
    """Open descriptors of anonymous shared memory."""
    count = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            count += os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:")
        except OSError:
            continue  # closed meanwhile
    return count


@dataclass(frozen=True, slots=True)
class Missing:
    """Frames of a healthy rate that no result came of.

    Attributes:
        lost: never decoded; nobody accounts for them.
        dropped: decoded, and dropped because the detector had no time, as is counted in `vigil_frames_total`.
    """

    lost: int = 0
    dropped: int = 0

    def __add__(self, other: Missing) -> Missing:
        return Missing(self.lost + other.lost, self.dropped + other.dropped)


def missing(results: list[dict[str, Any]], since: float, until: float, fps: float = FPS) -> Missing:
    """What a camera of `fps` took between two moments (monotonic seconds) and no result came of.

    Within a session, dropped frames show in the numbers and lost ones in media time; between sessions, and at the end,
    what is lost shows in the time that passed.
    """
    total = Missing()
    last: dict[str, Any] | None = None
    for result in results:
        if last is not None and result["_arrived"] >= since:
            if result["session"] == last["session"]:
                dropped = result["seq"] - last["seq"] - 1
                lost = round((result["pts"] - last["pts"]) * fps) - 1 - dropped
            else:
                dropped, lost = 0, round((result["_arrived"] - last["_arrived"]) * fps) - 1
            total += Missing(max(0, lost), dropped)
        last = result
        if result["_arrived"] > until:
            return total
    silent_s = until - max(last["_arrived"] if last else since, since)
    return total + Missing(max(0, round(silent_s * fps) - 1))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Attributes:
    detected_s: from the fault to the stream leaving the live state (of hanging attempts: from the attempt's beginning);
        None: it stayed live.
    recovered_s: from the end of the cause to the next frame result of a live stream; None: never.
    reason: the one the stream gave.
    frames_lost: of the stream, from the fault until the end of the trial.
    neighbour_frames_lost: of both healthy cameras, in that time; where the fault takes the worker, of the better one.
    neighbour_frames_dropped: theirs that the detector had no time for, in that time; `quiet_frames_dropped`: and as
        many in as long a time at the rate of the quiet before the fault.
    """

    detected_s: float | None
    recovered_s: float | None
    reason: str | None
    frames_lost: int
    neighbour_frames_lost: int
    neighbour_frames_dropped: int
    quiet_frames_dropped: float
    rss_growth_mb: float
    fds_growth: int
    threads_growth: int
    shared_growth: int


class Trial:
    """One fault of one stream of a running service."""

    def __init__(self, service: Running, inbox: Inbox, stream: str, neighbours: tuple[str, str]) -> None:
        self._service = service
        self._inbox = inbox
        self._stream = stream
        self._neighbours = neighbours

    def run(self, fault: Fault, camera: Camera) -> Outcome:
        began = time.monotonic()
        time.sleep(QUIET_S)
        quiet = self._neighbours_missing(began, time.monotonic())
        before = Holdings.when_settled(self._service)
        failed = time.monotonic()
        camera.fail(self._service)
        if fault.hold_s:
            time.sleep(fault.hold_s)
            detected = self._left_live(failed, fault.reasons)
        else:
            detected = _wait(lambda: self._left_live(failed, fault.reasons), DETECTED_WITHIN_S)
        mended = time.monotonic()
        camera.mend()
        back = _wait(lambda: self._live_again(mended, left=detected is not None), RECOVERED_WITHIN_S)
        time.sleep(SETTLE_S)
        ended = time.monotonic()
        after = Holdings.when_settled(self._service)
        # Now that this took a while, the last frames of the trial have arrived, if they are ever to.
        neighbours = self._neighbours_missing(failed, ended)
        lost = [missing(self._inbox.of(name), failed, ended).lost for name in self._neighbours]
        return Outcome(
            round(detected[0], 2) if detected else None,
            round(back - mended, 2) if back else None,
            detected[1] if detected else None,
            missing(self._inbox.of(self._stream), failed, ended).lost,
            min(lost) if fault.takes_worker else sum(lost),
            neighbours.dropped,
            round(quiet.dropped * (ended - failed) / QUIET_S, 1),
            round(after.memory_mb - before.memory_mb, 1),
            after.fds - before.fds,
            after.threads - before.threads,
            after.shared - before.shared,
        )

    def _neighbours_missing(self, since: float, until: float) -> Missing:
        return sum((missing(self._inbox.of(name), since, until) for name in self._neighbours), Missing())

    def _left_live(self, failed: float, reasons: tuple[str, ...]) -> tuple[float, str | None] | None:
        """Seconds until the stream said so, and why."""
        began = failed
        for status in self._inbox.status[:]:
            if status["stream"] != self._stream or status["_arrived"] < failed:
                continue
            if reasons and status["state"] == "connecting":
                began = status["_arrived"]
            if status["state"] != "live" and (not reasons or status["reason"] in reasons):
                return status["_arrived"] - began, status["reason"]
        return None

    def _live_again(self, mended: float, left: bool) -> float | None:
        """When the first frame result of a live stream came after the mend."""
        live = mended
        if left:
            of_ours = [status for status in self._inbox.status[:] if status["stream"] == self._stream]
            if of_ours[-1]["state"] != "live":
                return None
            live = of_ours[-1]["_arrived"]
        results = self._inbox.of(self._stream)
        return next((frame["_arrived"] for frame in results if frame["_arrived"] > max(mended, live - 0.2)), None)


def _wait(condition: Callable[[], Any], timeout_s: float) -> Any:
    """The condition's first true value; None when there is none in time."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if value := condition():
            return value
        time.sleep(POLL_S)
    return None
