"""Cuts out of requirements.lock what an image needs, each package with its version and hashes.

python docker/locked.py requirements.lock NAMES          what NAMES, lines as `uv pip compile` prints them, names
python docker/locked.py requirements.lock NAMES --cpu    the same without PyTorch and what its CUDA build brings
python docker/locked.py requirements.lock --torch        PyTorch's own lines, without hashes: its CPU builds are others
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TORCH = ("torch", "torchvision")
# What PyTorch's CUDA build depends on, by name; nvidia-ml-py reads GPUs' counters and is a few kilobytes.
CUDA = re.compile(r"^(nvidia-(?!ml-py$)|cuda-|triton$)")
_NAME = re.compile(r"^([a-z0-9][a-z0-9._-]*)", re.IGNORECASE)


def blocks(lock: str) -> dict[str, list[str]]:
    """The lock's requirements by their names, with the lines of their hashes; several where Pythons differ."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n(?=\S)", lock.strip()):
        match = _NAME.match(block)
        if match is not None:
            found.setdefault(match[1].lower(), []).append(block)
    return found


def cut(lock: str, names: str, cpu: bool) -> str:
    """The named requirements as the lock has them.

    Raises:
        SystemExit: one of them is not locked.
    """
    wanted = [match[1].lower() for line in names.splitlines() if (match := _NAME.match(line))]
    locked = blocks(lock)
    missing = [name for name in wanted if name not in locked]
    if missing:
        raise SystemExit(f"requirements.lock lacks {', '.join(missing)}: renew it with `make lock`")
    kept = [name for name in wanted if not (cpu and (name in TORCH or CUDA.match(name)))]
    return "\n".join(block for name in kept for block in locked[name]) + "\n"


def torch(lock: str) -> str:
    """PyTorch's requirements, versions alone."""
    locked = blocks(lock)
    return "\n".join(locked[name][0].split()[0] for name in TORCH) + "\n"


def main() -> None:
    lock = Path(sys.argv[1]).read_text()
    if sys.argv[2:] == ["--torch"]:
        print(torch(lock), end="")
    else:
        print(cut(lock, Path(sys.argv[2]).read_text(), "--cpu" in sys.argv[3:]), end="")


if __name__ == "__main__":
    main()
