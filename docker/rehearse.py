"""Follows a Dockerfile's steps without a Docker engine: in change roots on this machine, as root. For developers.

    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm BASE
    python docker/rehearse.py docker/Dockerfile --base BASE --out OUT

BASE stands for every image that is built upon; `python` in it is Debian's. OUT/<stage> is what a stage became. What an
engine does beyond that is not shown: layers, cache mounts, permissions of volumes, the image's metadata.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = "/root/.cache/uv"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(slots=True)
class Step:
    """An instruction, its options (`--from=build`) and the rest of its line."""

    word: str
    options: dict[str, str]
    rest: str


@dataclass(slots=True)
class Stage:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"


def steps(text: str) -> list[Step]:
    """A Dockerfile's instructions; comments and continued lines are taken in."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        options = {}
        while match := re.match(r"--([a-z-]+)=(\S+)\s*", rest.strip()):
            options[match[1]], rest = match[2], rest.strip()[match.end() :]
        if word:
            found.append(Step(word.upper(), options, rest.strip()))
    return found


def words(rest: str) -> list[str]:
    """The arguments of an instruction, in either form."""
    return list(json.loads(rest)) if rest.startswith("[") else shlex.split(rest)


def run(stage: Stage, command: str, cache: Path) -> None:
    """In the stage's root, with this machine's devices, processes, names of hosts and trusted authorities."""
    binds = {"/proc": "/proc", "/dev": "/dev", "/etc/resolv.conf": "/etc/resolv.conf", "/etc/hosts": "/etc/hosts",
             "/etc/ssl/certs": "/etc/ssl/certs", str(cache): CACHE}  # fmt: skip
    script = ["set -e"]
    for here, there in binds.items():
        target = stage.folder / there.lstrip("/")
        make = f"mkdir -p {target}" if os.path.isdir(here) else f"touch {target}"
        script.append(f"{make}; mount --rbind {shlex.quote(here)} {target}")
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                   "DEBIAN_FRONTEND": "noninteractive", "PIP_BREAK_SYSTEM_PACKAGES": "1",
                   "PIP_CERT": AUTHORITIES, "SSL_CERT_FILE": AUTHORITIES, **stage.environment}  # fmt: skip
    inside = f"cd {stage.directory} && {command}"
    script.append(f"exec env -i {shlex.join(f'{k}={v}' for k, v in environment.items())} "
                  f"chroot {stage.folder} /bin/sh -ec {shlex.quote(inside)}")  # fmt: skip
    subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script)], check=True)


def copy(stage: Stage, step: Step, stages: dict[str, Stage]) -> None:
    *sources, target = words(step.rest)
    root = stages[step.options["from"]].folder if "from" in step.options else ROOT
    place = stage.folder / os.path.join(stage.directory, target).lstrip("/")
    for source in sources:
        found = root / source.lstrip("/")
        into = place / found.name if target.endswith("/") else place
        into.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            subprocess.run(["cp", "-a", f"{found}/.", str(into)], check=True) if into.exists() else shutil.copytree(
                found, into, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.openvino")
            )
        else:
            shutil.copy2(found, into)
            if "chmod" in step.options:
                into.chmod(int(step.options["chmod"], 8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--replace", nargs=2, metavar=("OLD", "NEW"), action="append", default=[],
                        help="In commands: for what cannot be had on this machine.")  # fmt: skip
    asked = parser.parse_args()
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for step in steps(asked.dockerfile.read_text()):
        print(f"{step.word} {step.rest[:110]}", flush=True)
        if step.word == "FROM":
            image, *name = re.split(r"\s+AS\s+", step.rest)
            stage = stages[name[0] if name else "final"] = Stage(asked.out / (name[0] if name else "final"))
            assert image not in stages, "a stage upon a stage is not needed so far"
            subprocess.run(["cp", "-a", "--reflink=auto", str(asked.base), str(stage.folder)], check=True)
            (stage.folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            continue
        assert stage is not None, "FROM comes first"
        if step.word == "ENV":
            for assignment in shlex.split(step.rest):
                name_, _, value = assignment.partition("=")
                path = stage.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")
                stage.environment[name_] = value.replace("$PATH", path)
        elif step.word == "WORKDIR":
            stage.directory = step.rest
            (stage.folder / step.rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY":
            copy(stage, step, stages)
        elif step.word == "RUN":
            command = step.rest
            for old, new in asked.replace:
                command = command.replace(old, new)
            (asked.out / "cache").mkdir(exist_ok=True)
            run(stage, command, asked.out / "cache")


if __name__ == "__main__":
    main()
