"""What a check found, and what checks look at."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vigil.config import VigilConfig
from vigil.state import Addresses, StateFolder


class State(StrEnum):
    """
    Attributes:
        OK: as it should be.
        WARN: Vigil runs, and something will be missed, or is not as it seems to be meant.
        FAIL: Vigil does not run, or not as configured.
        NOT_APPLICABLE: nothing here, or nothing in the config, that it matters to.
    """

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    NOT_APPLICABLE = "n/a"


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` is a stable name, for programs; `seen` and `mend` are for people and hold no credentials."""

    check: str
    state: State
    seen: str
    mend: str | None = None


def ok(check: str, seen: str) -> Finding:
    return Finding(check, State.OK, seen)


def warn(check: str, seen: str, mend: str) -> Finding:
    return Finding(check, State.WARN, seen, mend)


def fail(check: str, seen: str, mend: str) -> Finding:
    return Finding(check, State.FAIL, seen, mend)


def not_applicable(check: str, why: str) -> Finding:
    return Finding(check, State.NOT_APPLICABLE, why)


@dataclass(frozen=True, slots=True)
class Installation:
    """The config, and where it is to run; `running` is its service when that runs already."""

    config: VigilConfig
    running: Addresses | None = None
    in_container: bool = False

    @classmethod
    def here(cls, config: VigilConfig) -> Installation:
        told = StateFolder(config.state_folder).addresses()
        return cls(config, told if told and Path(f"/proc/{told.pid}").exists() else None, is_container())


def is_container(root: Path = Path("/")) -> bool:
    """By the marks that Docker, Podman and Kubernetes leave."""
    marks = (root / ".dockerenv", root / "run/.containerenv", root / "run/secrets/kubernetes.io")
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in marks)
