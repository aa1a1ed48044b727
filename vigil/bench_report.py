"""How `vigil bench` tells what it measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from vigil.bench import Measured, Refused


def show(told: Sequence[Measured | Refused], as_json: bool) -> None:
    measured = [one for one in told if isinstance(one, Measured)]
    refused = _by_reason([one for one in told if isinstance(one, Refused)])
    if as_json:
        left_out = [{"model": model, "ways": ways, "why": why} for (model, why), ways in refused.items()]
        print(json.dumps({"measured": [asdict(one) for one in measured], "refused": left_out}, indent=2))
        return
    console = Console()
    for model in dict.fromkeys(one.model for one in measured):
        console.print(f"[bold]{model}[/bold]", highlight=False)
        console.print(_table([one for one in measured if one.model == model]))
        console.print()
    for (model, why), ways in refused.items():
        console.print(f"[yellow]{model} cannot be computed by[/yellow] {', '.join(ways)}: {why}", highlight=False)
    if measured:
        console.print(
            "fps: inference alone, on all cores; `vigil plan` says how many cameras fit. boxes: how many of what the "
            "first way finds, drift: how far their scores are off.", highlight=False,
        )  # fmt: skip


def _table(measured: Sequence[Measured]) -> Table:
    """Of one model; the fastest way at each size stands out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("input", "computed by"):
        table.add_column(title)
    for title in ("fps", "p50 ms", "p99 ms", "boxes", "drift"):
        table.add_column(title, justify="right")
    for one in measured:
        fastest = max(other.fps for other in measured if other.input == one.input)
        table.add_row(
            one.input, f"{one.runtime} {one.precision} on {one.device}", f"{one.fps:.1f}", f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}", "" if one.found is None else f"{one.found:.0%}",
            "" if one.score_drift is None else f"{one.score_drift:.3f}", style="bold" if one.fps == fastest else "",
        )  # fmt: skip
    return table


def _by_reason(refused: Sequence[Refused]) -> dict[tuple[str, str], list[str]]:
    """The ways of each model that were refused for the same reason, each once."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for one in refused:
        ways = reasons.setdefault((one.model, one.why), [])
        if (way := f"{one.way.runtime} {one.way.precision}") not in ways:
            ways.append(way)
    return reasons
