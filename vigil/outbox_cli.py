"""`vigil outbox`: what waits for NATS, whether the service runs or not."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from publish.outbox import FILE, Outbox, OutboxError
from vigil.config import VigilConfig
from vigil.load import load


def outbox(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Config of the service.")] = None,
    site: Annotated[str, typer.Option(help="Its site, when no config is given.")] = "local",
    oldest: Annotated[int, typer.Option(min=0, help="Show so many of the oldest messages too.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what waits in the outbox for NATS to take it."""
    folder = (load(config) if config else VigilConfig(site=site, streams={})).state_folder
    file = folder / FILE
    if not file.is_file():
        raise OutboxError(f"there is no outbox in {folder}: has Vigil run with this config?")
    with closing(Outbox.open(file, os.getpid())) as opened:
        contents, subjects = opened.contents(), opened.subjects()
        messages = opened.after(0, oldest) if oldest else []
        unfinished = len(opened.unfinished())
    if as_json:
        shown = [{"id": one.id, "subject": one.subject, "message": json.loads(one.body)} for one in messages]
        told = {**asdict(contents), "unfinished": unfinished, "subjects": subjects, "oldest": shown}
        typer.echo(json.dumps(told, indent=2))
        return
    console = Console()
    if not contents.messages:
        console.print("Nothing waits.")
    else:
        console.print(
            f"{contents.messages} messages wait, {contents.bytes / 1e6:.1f} MB; the oldest has for "
            f"{contents.oldest_s:.0f} seconds of service."
        )
        table = Table("subject", "messages")
        for subject, count in subjects.items():
            table.add_row(subject, str(count))
        console.print(table)
    for one in messages:
        console.print(f"{one.id} {one.subject} {one.body.decode()}", markup=False, highlight=False, soft_wrap=True)
    if unfinished:
        console.print(f"{unfinished} tracks and visits have begun and not ended yet.")
