"""Disk: folders can be written, and hold what the config allows to be kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from vigil.config import VigilConfig
from vigil.doctor.finding import Finding, Installation, fail, ok, warn

# The outbox and the locks of SQLite and NATS want some, however little is kept.
LEAST_FREE = 256 << 20
LEAST_FILES = 10_000


def folders(installation: Installation) -> list[Finding]:
    return [_writable(name, folder) for name, folder in _used(installation.config).items()]


def space(installation: Installation) -> list[Finding]:
    """One finding for each disk that holds folders of ours."""
    config = installation.config
    disks: dict[int, list[str]] = {}
    for name, folder in _used(config).items():
        disks.setdefault(_existing(folder).stat().st_dev, []).append(name)
    return [_room(config, names) for names in disks.values()]


def _used(config: VigilConfig) -> dict[str, Path]:
    """The folders by the setting that says where they are; one within another counts with that."""
    used = {"state_dir": config.state_folder}
    if not config.media_folder.is_relative_to(config.state_folder):
        used["media.folder"] = config.media_folder
    return used


def _existing(folder: Path) -> Path:
    """The folder, or the one in which it would be made."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))


def _writable(name: str, folder: Path) -> Finding:
    """By writing: permissions, read-only file systems, full ones and quotas all show."""
    check = f"disk.{name}"
    blocked = next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None)
    if blocked is not None:
        return fail(check, f"{blocked} is a file, not a folder", f"set another `{name}`")
    where = _existing(folder)
    try:
        with tempfile.TemporaryFile(dir=where, prefix=".vigil-doctor-") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        mend = f"give it to the user that runs Vigil (uid {os.geteuid()}), make room there, or set another `{name}`"
        return fail(check, f"cannot write to {where}: {error.strerror}", mend)
    return ok(check, f"{folder} can be written" if where == folder else f"{folder} can be made in {where}")


def _room(config: VigilConfig, names: Iterable[str]) -> Finding:
    used = _used(config)
    folders = [used[name] for name in names]
    where = _existing(folders[0])
    statistics = os.statvfs(where)
    # File systems without a table of files (btrfs) say that they have none at all.
    files = statistics.f_favail if statistics.f_files else LEAST_FILES
    kept = sum(wanted(config)[name] for name in names)
    return judge_room(where, shutil.disk_usage(where).free, files, kept, sum(map(_size, folders)), config)


def wanted(config: VigilConfig) -> dict[str, int]:
    """How many bytes may be kept at most, by the setting of the folder."""
    state = config.outbox.max_bytes
    if config.nats.url == "embedded" and config.nats.storage == "file":
        state += config.nats.events_max_bytes
    media = 0
    if any(stream.snapshots or stream.clips for stream in config.streams.values()):
        media = config.media.max_bytes if config.media.store == "folder" else config.media.backlog
    apart = not config.media_folder.is_relative_to(config.state_folder)
    return {"state_dir": state, "media.folder": media} if apart else {"state_dir": state + media}


def judge_room(where: Path, free: int, files: int, kept: int, used: int, config: VigilConfig) -> Finding:
    """`kept` bytes may be there at most, of which `used` are there already."""
    told = f"{_gib(free)} free at {where}"
    if free < LEAST_FREE:
        return fail("disk.space", f"{told}: not enough for events to wait there", "make room, or set another folder")
    if files < LEAST_FILES:
        return fail("disk.space", f"only {files} more files fit at {where}", "remove files, or set another folder")
    needed = max(0, kept - used) + config.media.least_free
    if free < needed:
        mend = "make room, or lower `outbox.max_bytes`, `nats.events_max_bytes` or `media.max_bytes`"
        return warn("disk.space", f"{told}; what the config allows to be kept takes up to {_gib(needed)} more", mend)
    return ok("disk.space", f"{told}, up to {_gib(needed)} wanted")


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
