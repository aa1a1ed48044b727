"""The `vigil streams` commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from vigil.document import shown

app = typer.Typer(no_args_is_help=True, help="See and change the streams of a running service.")

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", help="Config of the service.")]
NatsUrl = Annotated[str | None, typer.Option("--nats", help="NATS URL, instead of the config's.")]
Site = Annotated[str, typer.Option(help="The service's site when no config is given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
StreamId = Annotated[str, typer.Argument(help="The stream's id.")]
Keep = Annotated[bool, typer.Option("--keep/--until-restart", help="Whether the change outlasts the service.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="A setting as KEY=VALUE, like fps=5; can be repeated.")]


@app.command("list")
def list_streams(
    config: ConfigFile = None, nats: NatsUrl = None, site: Site = "local", as_json: AsJson = False
) -> None:
    """Every stream and how it is doing."""
    streams = _ask(config, nats, site, "list")
    if as_json:
        typer.echo(json.dumps(streams, indent=2))
        return
    table = Table("stream", "state", "frames", "tracks", "", box=None)
    for one in streams:
        words = one.get("description") or " ".join(str(one[key]) for key in ("reason", "detail") if one.get(key))
        table.add_row(one["id"], one["state"], str(one["frames"]), str(one["tracks"]), words)
    Console().print(table)


@app.command()
def show(
    stream: StreamId, config: ConfigFile = None, nats: NatsUrl = None, site: Site = "local", as_json: AsJson = False
) -> None:
    """One stream, with its settings."""
    _print(_ask(config, nats, site, "show", id=stream), as_json)


@app.command()
def add(
    stream: StreamId,
    url: Annotated[str, typer.Option(help="Where its frames come from; - reads it from standard input.")],
    sets: Sets = None,
    keep: Keep = True,
    config: ConfigFile = None,
    nats: NatsUrl = None,
    site: Site = "local",
    as_json: AsJson = False,
) -> None:
    """Add a stream: a password in the URL is best read from standard input, as others can see command lines."""
    source = sys.stdin.readline().strip() if url == "-" else url
    settings = {"url": source, **_settings(sets)}
    _print(_ask(config, nats, site, "add", id=stream, settings=settings, keep=keep), as_json)


@app.command()
def change(
    stream: StreamId, sets: Sets = None, keep: Keep = True, config: ConfigFile = None, nats: NatsUrl = None,
    site: Site = "local", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Change settings of a stream; KEY=null takes one back."""
    changes = _settings(sets)
    if not changes:
        raise typer.BadParameter("nothing to change", param_hint="--set")
    _print(_ask(config, nats, site, "change", id=stream, changes=changes, keep=keep), as_json)


@app.command()
def pause(
    stream: StreamId, keep: Keep = True, config: ConfigFile = None, nats: NatsUrl = None, site: Site = "local"
) -> None:
    """Let go of a stream's camera until `resume`; the stream stays known, with its settings."""
    _ask(config, nats, site, "pause", id=stream, keep=keep)
    typer.echo(f"{stream} is paused")


@app.command()
def resume(
    stream: StreamId, keep: Keep = True, config: ConfigFile = None, nats: NatsUrl = None, site: Site = "local"
) -> None:
    """Take up a paused stream again."""
    _ask(config, nats, site, "resume", id=stream, keep=keep)
    typer.echo(f"{stream} is taken up again")


@app.command()
def remove(
    stream: StreamId, keep: Keep = True, config: ConfigFile = None, nats: NatsUrl = None, site: Site = "local"
) -> None:
    """Stop serving a stream."""
    _ask(config, nats, site, "remove", id=stream, keep=keep)
    typer.echo(f"{stream} is no longer served")


def _settings(sets: list[str] | None) -> dict[str, Any]:
    try:
        return settings_of(sets or [])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from None


def _ask(config: Path | None, nats: str | None, site: str, endpoint: str, **request: Any) -> Any:
    from vigil.streams import ask
    from vigil.subscribe import chosen

    return ask(chosen(config, nats, site), endpoint, **request)


def _print(stream: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(stream, indent=2))
        return
    settings = stream.pop("settings")
    for key, value in [*stream.items(), *((f"settings.{key}", value) for key, value in settings.items())]:
        typer.echo(f"{key:<24} {value}")


def settings_of(pairs: list[str]) -> dict[str, Any]:
    """`["fps=5", "tracker.kind=bytetrack", "detector=null"]` as nested settings; values are YAML.

    Raises:
        ValueError: one is no `key=value`.
    """
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"{shown(pair)} is not like fps=5")
        *above, last = key.split(".")
        place = settings
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ValueError(f"{key} lies within a setting that is given as well")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError:
            place[last] = text
    return settings
