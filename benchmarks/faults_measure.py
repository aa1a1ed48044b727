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
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the supervisor, detector and workers hold: proportional memory, descriptors, threads, shared blocks."""

    memory_mb: float
    fds: int
    threads: int
    shared: int

    @classmethod
    def of(cls, service: Running) -> Holdings:
        roles = service.children()
        processes = [psutil.Process(service.process.pid), *roles["worker"], *roles["detector"]]
        return cls(
            sum(process.memory_full_info().pss for process in processes) / 1e6,
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            len(os.listdir("/dev/shm")) + sum(_memory_files(process.pid) for process in processes),
        )


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
class Outcome:
    """Attributes:
    detected_s: from the fault to the stream leaving the live state (of hanging attempts: from the attempt's beginning);
        None: it stayed live.
    recovered_s: from the end of the cause to the next frame result of a live stream; None: never.
    reason: the one the stream gave.
    frames_lost: results that did not come, from the fault until the end of the trial.
    neighbour_frames_lost: as many of both healthy cameras; `quiet_frames_lost` just before, in `QUIET_S`.
    """

    detected_s: float | None
    recovered_s: float | None
    reason: str | None
    frames_lost: int
    neighbour_frames_lost: int
    quiet_frames_lost: int
    rss_growth_mb: float
    fds_growth: int
    threads_growth: int
    shared_growth: int


def missing(results: list[dict[str, Any]], since: float, until: float, fps: float = FPS) -> int:
    """Frames that a camera of `fps` took between two moments (monotonic seconds) and no result came of.

    Within a session, what is missing shows in numbers (dropped or skipped) or in media time (never decoded), between
    sessions in the time that passed.
    """
    lost = 0
    last: dict[str, Any] | None = None
    for result in results:
        if last is not None and result["_arrived"] >= since:
            if result["session"] == last["session"]:
                by_time = round((result["pts"] - last["pts"]) * fps)
                lost += max(result["seq"] - last["seq"], by_time) - 1
            else:
                lost += max(0, round((result["_arrived"] - last["_arrived"]) * fps) - 1)
        last = result
        if result["_arrived"] > until:
            return lost
    silent_s = until - max(last["_arrived"] if last else since, since)
    return lost + max(0, round(silent_s * fps) - 1)


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
        quiet = self._neighbours_lost(began, time.monotonic())
        before = Holdings.of(self._service)
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
        after = Holdings.of(self._service)
        return Outcome(
            round(detected[0], 2) if detected else None,
            round(back - mended, 2) if back else None,
            detected[1] if detected else None,
            missing(self._inbox.of(self._stream), failed, ended),
            self._neighbours_lost(failed, ended),
            quiet,
            round(after.memory_mb - before.memory_mb, 1),
            after.fds - before.fds,
            after.threads - before.threads,
            after.shared - before.shared,
        )

    def _neighbours_lost(self, since: float, until: float) -> int:
        return sum(missing(self._inbox.of(name), since, until) for name in self._neighbours)

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
