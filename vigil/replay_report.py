"""How `vigil replay` tells how far it is and what it found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)  # fmt: skip
from rich.table import Table
from rich.text import Text

from tracking.events import EventType

if TYPE_CHECKING:
    from vigil.replay import Outcome, TellOf

OF_TRACKS = (EventType.TRACK_STARTED, EventType.TRACK_ENDED)


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} fps" if task.speed else "")


@contextmanager
def progress(files: int) -> Iterator[TellOf]:
    """A bar for each recording at work and one for all of them, on a terminal's error output; elsewhere nothing."""
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    tasks: dict[Path, TaskID] = {}
    finished: set[Path] = set()
    with bars:
        whole = bars.add_task("recordings", total=files, visible=files > 1)

        def tell(file: Path, done: int, of: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file.name)
            if done == of:
                finished.add(file)
            bars.update(tasks[file], completed=done, total=of, visible=file not in finished)
            bars.update(whole, completed=len(finished))

        yield tell


def show(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """The summary, on standard output."""
    failed = [outcome for outcome in outcomes if outcome.error]
    if as_json:
        told = [{**asdict(outcome), "tracks": outcome.tracks, "fps": outcome.fps} for outcome in outcomes]
        print(json.dumps({"ok": not failed, "recordings": told}, indent=2))
        return
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("recording", "frames", "fps", "tracks", "events", ""):
        table.add_column(title, justify="right" if title in ("frames", "fps", "tracks") else "left", overflow="fold")
    for outcome in outcomes:
        events = [f"{kind} {count}" for kind, count in outcome.events.items() if kind not in OF_TRACKS]
        result = Text(f"failed: {outcome.error} [{outcome.code}]", "red") if outcome.error else Text("ok", "green")
        name, rate = Text(Path(outcome.file).name), f"{outcome.fps:.1f}"
        table.add_row(name, str(outcome.frames), rate, str(outcome.tracks), ", ".join(events), result)
    console.print(table)
    for outcome in outcomes:
        for path in outcome.written:
            console.print(Text(f"written: {path}"))
        if outcome.audit is not None:
            _show_audit(console, outcome.audit)
    if failed:
        console.print(Text(f"{len(failed)} of {len(outcomes)} recordings failed", "red"))


def _show_audit(console: Console, audit: dict[str, Any]) -> None:
    frames, asked, missed, added = audit["frames"], audit["asked"], audit["missed"], audit["added"]
    console.print(
        f"attention: the detector is asked about {asked} of {frames} frames, {frames / max(asked, 1):.1f} times fewer; "
        f"of {audit['events']} events {len(missed)} are missed, {len(added)} are told beyond them",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for word, lines in (("missed", missed), ("beyond", added)):
        for line in lines:
            console.print(Text(f"  {word}: {line}"), soft_wrap=True)
