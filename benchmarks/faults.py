"""Breaks cameras in every way we know, beside healthy ones: how soon is it seen, how soon mended, and who else suffers?

`python -m benchmarks.faults [--only paused] [--only reset]`

Each fault has a camera of its own, a real RTSP server or file on loopback; several cameras and two healthy neighbours,
one in each worker, are served by `vigil run`, and break one after the other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.faults_cameras import FAULTS, Camera, serving, street
from benchmarks.faults_measure import Holdings, Outcome, Trial
from benchmarks.harness import save
from tests.e2e.real import Inbox, Running, Subscriber, wait_for

NEIGHBOURS = ("left", "right")
FAULTS_PER_SERVICE = 5
START_S = 120.0
COLUMNS = ("fault", "detected s", "reason", "recovered s", "lost", "neighbours lost", "dropped", "(quiet)",
           "memory MB", "fds", "threads", "shared", "")  # fmt: skip
console = Console(width=150)


def groups(names: list[str]) -> Iterator[list[str]]:
    """Faults that can share a service."""
    together = [name for name in names if not FAULTS[name].takes_worker]
    for start in range(0, len(together), FAULTS_PER_SERVICE):
        yield together[start : start + FAULTS_PER_SERVICE]
    yield from ([name] for name in names if FAULTS[name].takes_worker)


@contextmanager
def running(cameras: dict[str, Camera], folder: Path) -> Iterator[tuple[Running, Inbox]]:
    """`vigil run` with these cameras between two healthy neighbours, once every one of them delivers."""
    with ExitStack() as stack:
        left, right = (stack.enter_context(serving(street(folder))).url() for _ in NEIGHBOURS)
        streams = {
            NEIGHBOURS[0]: {"url": left},
            **{name: {"url": camera.url, **camera.settings} for name, camera in cameras.items()},
            NEIGHBOURS[1]: {"url": right},
        }
        config = {
            "site": "faults", "state_dir": str(folder / "state"), "http": {"port": 0}, "log": {"format": "json"},
            "detector": {"model": "starter", "image_size": 320},
            "workers": {"streams_per_worker": max(2, -(-len(streams) // 2))}, "streams": streams,
        }  # fmt: skip
        file = folder / "vigil.yaml"
        file.write_text(yaml.safe_dump(config))
        service = Running(file, {})
        stack.callback(service.kill_all)
        service.wait_started(START_S)
        inbox = stack.enter_context(Subscriber(service.addresses["nats"], service.addresses["prefix"]))
        wait_for("frames of every camera", lambda: all(len(inbox.of(name)) > 5 for name in streams), START_S)
        Holdings.when_settled(service)
        yield service, inbox
        service.stop()


def run(names: list[str], folder: Path) -> Iterator[tuple[str, Outcome]]:
    """Breaks the named cameras of one service, in turn."""
    with ExitStack() as stack:
        cameras = {name: stack.enter_context(FAULTS[name].camera(folder)) for name in names}
        service, inbox = stack.enter_context(running(cameras, folder))
        for name, camera in cameras.items():
            yield name, Trial(service, inbox, name, NEIGHBOURS).run(FAULTS[name], camera)


def verdict(name: str, outcome: Outcome) -> list[str]:
    """What is not as it should be."""
    fault = FAULTS[name]
    wrong = []
    if fault.survives and outcome.detected_s is not None:
        wrong.append("left live")
    if not fault.survives and outcome.detected_s is None:
        wrong.append("not detected")
    if outcome.recovered_s is None:
        wrong.append("not recovered")
    if outcome.neighbour_frames_lost:
        wrong.append("neighbours lost frames")
    return wrong


def main(
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(FAULTS)}; repeat for several.")] = None,
) -> None:
    names = only or list(FAULTS)
    if unknown := [name for name in names if name not in FAULTS]:
        raise typer.BadParameter(f"no fault {unknown[0]!r}; there are {', '.join(FAULTS)}")
    table = Table(*COLUMNS)
    outcomes: dict[str, Outcome] = {}
    for together in groups(names):
        with tempfile.TemporaryDirectory(prefix="vigil-faults-") as folder:
            for name, outcome in run(together, Path(folder)):
                outcomes[name] = outcome
                told = ["–" if value is None else str(value) for value in (
                    outcome.detected_s, outcome.reason, outcome.recovered_s, outcome.frames_lost,
                    outcome.neighbour_frames_lost, outcome.neighbour_frames_dropped, outcome.quiet_frames_dropped,
                    outcome.rss_growth_mb, outcome.fds_growth, outcome.threads_growth, outcome.shared_growth,
                )]  # fmt: skip
                table.add_row(name, *told, ", ".join(verdict(name, outcome)))
                console.print(f"{FAULTS[name].what}: {asdict(outcome)}")
    console.print(table)
    console.print(f"written to {save('faults', {name: asdict(outcome) for name, outcome in outcomes.items()})}")


if __name__ == "__main__":
    typer.run(main)
