"""How `vigil plan` tells what it found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table

from vigil.plan import COMFORTABLE, Plan


@contextmanager
def progress(as_json: bool) -> Iterator[Callable[[str], None]]:
    """Tells what is being measured; on the error output, so that JSON stays alone."""
    console = Console(stderr=True)
    with console.status("measuring") as status:
        yield lambda what: console.print(what) if as_json or not console.is_terminal else status.update(what)


def show(plan: Plan, silent: dict[str, str], cores: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**plan.to_json(), "cores": cores, "silent": silent}, indent=2))
        return
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("stage", "ms a frame", "frames a second", "cores"):
        table.add_column(title, justify="left" if title == "stage" else "right")
    for stage in plan.stages:
        table.add_row(stage.name, f"{stage.seconds * 1e3:.2f}", f"{stage.frames_per_second:.1f}", f"{stage.cores:.2f}")
    console.print(table)
    for resource in plan.resources:
        unit = f"{resource.used:.2f} of {resource.available:g} cores" if resource.name == "cpu" else "of its time"
        console.print(f"{resource.name}: {resource.utilisation:.0%} ({unit})", highlight=False)
    verdict = "It fits" if plan.fits else "It does not fit"
    console.print(
        f"[bold]{verdict}[/bold]: {plan.streams} streams use {plan.utilisation:.0%} of what there is "
        f"(comfortable: up to {COMFORTABLE:.0%}). First short: {plan.bottleneck}; most of the CPU goes to "
        f"{plan.heaviest}.", highlight=False,
    )  # fmt: skip
    console.print(
        f"At most {plan.capacity_fps:.0f} analysed frames a second in all; comfortable with "
        f"{plan.fitting_streams} such streams.", highlight=False,
    )  # fmt: skip
    for line in plan.advice:
        console.print(f"- {line}", highlight=False)
    for name, why in silent.items():
        console.print(f"[yellow]not reckoned with[/yellow]: {name} ({why})", highlight=False)
