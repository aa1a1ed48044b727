"""How `vigil doctor` tells what it found."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vigil.doctor.examine import failed
from vigil.doctor.finding import Finding, State

STYLES = {State.OK: "green", State.WARN: "yellow", State.FAIL: "bold red", State.NOT_APPLICABLE: "dim"}


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps({"ok": not failed(findings), "checks": [asdict(one) for one in findings]}, indent=2)


def show(findings: Sequence[Finding], console: Console | None = None) -> None:
    console = console or Console()
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        said = Text(one.seen)
        if one.mend:
            said.append(f"\n→ {one.mend}", style="italic")
        table.add_row(Text(one.state.value, style=STYLES[one.state]), Text(one.check), said)
    console.print(table)
    counts = Counter(one.state for one in findings)
    console.print(
        f"{counts[State.FAIL]} failed, {counts[State.WARN]} to look at, {counts[State.OK]} as they should be",
        highlight=False,
    )
