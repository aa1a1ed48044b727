"""The machine: memory, open files, the clock."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from pathlib import Path

from vigil.doctor.finding import Finding, Installation, fail, not_applicable, ok, warn

# A service without streams, and what each of 1080p adds (docs/benchmarks.md, throughput).
SERVICE_BYTES = 700 << 20
STREAM_BYTES = 40 << 20
# A process without streams, and what each stream of a worker opens: its connection, its decoder, its UDP sockets.
PROCESS_FILES = 256
STREAM_FILES = 32
SHM = Path("/dev/shm")  # noqa: S108 - the very folder that is meant
# Docker gives 64 MiB; a model's pictures and outputs go through it, several at once.
TRITON_SHM_BYTES = 256 << 20
# The kernel's clock is unsynchronised after this error (NTP_PHASE_LIMIT); linux/timex.h.
STA_UNSYNC = 0x40
TIME_ERROR = 5
# `struct timex`, whose start this is: modes, offset, freq, maxerror and esterror in microseconds, status.
TIMEX = struct.Struct("@i4x4li")
TIMEX_BYTES = 256


def memory(installation: Installation) -> list[Finding]:
    needed = SERVICE_BYTES + STREAM_BYTES * len(installation.config.streams)
    return [judge_memory(available_memory(), needed, installation.running is not None)]


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be had: the machine's, or what is left of the control group's limit."""
    lines = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines() if ":" in line)
    available = int(lines["MemAvailable"].split()[0]) << 10
    try:
        limit = (root / "sys/fs/cgroup/memory.max").read_text().strip()
        used = int((root / "sys/fs/cgroup/memory.current").read_text())
    except OSError:  # not in a group of control groups v2
        return available
    return available if limit == "max" else min(available, int(limit) - used)


def judge_memory(available: int, needed: int, runs: bool) -> Finding:
    told = f"{available >> 20} MiB can be had, about {needed >> 20} MiB wanted"
    if runs:
        return ok("memory", f"{available >> 20} MiB left beside the service that runs")
    if available < needed:
        return warn("memory", told, "give the machine or the container more, or spread the streams over several")
    return ok("memory", told)


def shared_memory(installation: Installation) -> list[Finding]:
    """The ring is anonymous memory, wherever /dev/shm is; a Triton server meets us in /dev/shm."""
    try:
        os.close(os.memfd_create("vigil-doctor"))
    except OSError as error:
        seen = f"the kernel gives no anonymous memory: {error.strerror}"
        return [fail("shm", seen, "allow memfd_create in the container's seccomp profile")]
    config = installation.config
    if not any(one.triton.shared_memory for one in (config.detector, *config.detectors.values())):
        return [not_applicable("shm", "nothing uses /dev/shm: the ring is anonymous memory")]
    try:
        statistics = os.statvfs(SHM)
    except OSError as error:
        return [fail("shm", f"{SHM}: {error.strerror}", "mount it, or set `triton.shared_memory: false`")]
    return [judge_shared_memory(statistics.f_bavail * statistics.f_frsize)]


def judge_shared_memory(free: int) -> Finding:
    told = f"{SHM} has {free >> 20} MiB free"
    if free < TRITON_SHM_BYTES:
        return warn("shm", f"{told}, {TRITON_SHM_BYTES >> 20} MiB wanted", "give the container `--shm-size 256m`")
    return ok("shm", told)


def open_files(installation: Installation) -> list[Finding]:
    config = installation.config
    needed = PROCESS_FILES + STREAM_FILES * min(config.workers.streams_per_worker, max(1, len(config.streams)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = f"{soft} files may be open in a process, {needed} wanted"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return [ok("open_files", told)]
    mend = f"`ulimit -n {needed}`, `LimitNOFILE={needed}` in the unit, or `ulimits` in compose"
    return [fail("open_files", told + (f" (the hard limit is {hard})" if hard < needed else ""), mend)]


def clock(_: Installation) -> list[Finding]:
    """What the kernel says of its own clock: changes nothing, and needs no rights."""
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)
    returned = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if returned < 0 or ctypes.sizeof(ctypes.c_long) != 8:
        return [not_applicable("clock", "the kernel does not tell how its clock is kept")]
    _, _, _, max_error_us, _, status = TIMEX.unpack_from(buffer)
    return [judge_clock(returned != TIME_ERROR and not status & STA_UNSYNC, max_error_us * 1e-6)]


def judge_clock(synchronised: bool, max_error_s: float) -> Finding:
    if not synchronised:
        mend = "run chrony or systemd-timesyncd, on the host of a container; `timedatectl` shows it"
        return warn("clock", "nothing keeps the clock: events' times drift", mend)
    return ok("clock", f"synchronised, within {max_error_s:.3f} s")
