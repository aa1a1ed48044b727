"""The `vigil` command. Exit codes: 0 fine, 2 bad input, 1 failed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from inference.model import cache_dir
from ingest.errors import VigilError
from publish.schema import MESSAGES
from publish.subjects import Subjects
from vigil import __version__, logging, streams_cli
from vigil import plan as planning
from vigil.config import VigilConfig, load
from vigil.document import ConfigError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Cameras in, tracked events out on NATS.", rich_markup_mode=None
)
app.add_typer(streams_cli.app, name="streams")
FAILED, BAD_INPUT = 1, 2

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The YAML config file.")]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"vigil {__version__}")
        raise typer.Exit


@app.command()
def run(config: ConfigFile) -> None:
    """Serve the cameras of a config until Ctrl-C or SIGTERM."""
    from vigil.service import Service
    from vigil.settings import Settings

    settings = Settings.read(config)
    found = settings.config()
    logging.configure(found.log.level, found.log.format)

    async def main() -> Service:
        service = Service(found, settings)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(service.changes.reload()))
        await service.run(stop)
        return service

    service = asyncio.run(main())
    failed = [name for name, view in service.streams.items() if view.state == "failed"]
    if failed:
        raise VigilError(f"could not be read: {', '.join(failed)}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="The YAML config file.")],
    probe: Annotated[bool, typer.Option(help="Open each camera and report what it sends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Validate a config: every problem at once, where it is and how to mend it."""
    try:
        settings = load(file)
    except ConfigError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "problems": [asdict(p) for p in error.problems]}, indent=2))
            raise typer.Exit(BAD_INPUT) from None
        raise
    probes = []
    if probe:
        from vigil import check as checks

        probes = checks.probe(settings)
    ok = all(result.ok for result in probes)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "problems": [], "probes": [asdict(p) for p in probes]}, indent=2))
    else:
        typer.echo(f"{file}: the config is valid ({len(settings.streams)} streams, site {settings.site})")
        for result in probes:
            said = result.description if result.ok else f"{result.reason}: {result.detail}"
            typer.echo(f"  {'ok  ' if result.ok else 'FAIL'} {result.stream:<16} {said} ({result.seconds:g} s)")
    if not ok:
        raise typer.Exit(FAILED)


@app.command()
def events(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Config of the service to listen to.")] = None,
    nats: Annotated[str | None, typer.Option(help="NATS URL, instead of the config's.")] = None,
    site: Annotated[str, typer.Option(help="Site to listen to when no config is given.")] = "local",
    stream: Annotated[str | None, typer.Option(help="Only this stream.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only this type, such as track.started.")] = None,
    since: Annotated[str | None, typer.Option(help="First those since: 30s, 10m, 2h, 1d, or an ISO time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Show events as they happen."""
    from vigil.subscribe import Address, address_of, event_line
    from vigil.subscribe import events as subscribe

    settings = load(config) if config else None
    start = _since(since) if since else None
    if settings:
        address = address_of(settings)
        if nats:
            address = Address(nats, address.subjects, address.credentials)
    elif nats:
        address = Address(nats, Subjects(f"vigil.{site}"))
    else:
        address = address_of(VigilConfig.model_construct(**_DEFAULTS, site=site))

    async def main() -> None:
        async for event in subscribe(address, stream, event_type, start):
            print(event.model_dump_json() if as_json else event_line(event), flush=True)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


_DEFAULTS: dict[str, Any] = {
    name: field.get_default(call_default_factory=True)
    for name, field in VigilConfig.model_fields.items()
    if name not in ("site", "streams")
} | {"streams": {}}


def _since(text: str) -> datetime:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match:
        seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
        return datetime.now(UTC) - timedelta(seconds=seconds)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither like 10m nor an ISO time", param_hint="--since") from None


@app.command()
def schema(
    message: Annotated[
        str | None, typer.Option(help=f"A message's schema instead of the config's: {', '.join(MESSAGES)}.")
    ] = None,
) -> None:
    """Print the JSON Schema of the config, for editors, or of a message."""
    if message is None:
        typer.echo(json.dumps(VigilConfig.model_json_schema(), indent=2))
    elif message in MESSAGES:
        typer.echo(json.dumps(MESSAGES[message].model_json_schema(mode="serialization"), indent=2))
    else:
        raise typer.BadParameter(f"{message!r} is not one of {', '.join(MESSAGES)}", param_hint="--message")


@app.command()
def demo(
    source: Annotated[
        list[str] | None, typer.Option("--source", "-s", help="A video file or RTSP URL, instead of the demo cameras.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model file or name.")] = "starter",
    seconds: Annotated[float | None, typer.Option(min=1, help="End by itself after so long, with a summary.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    image_size: Annotated[
        int | None, typer.Option(min=64, max=2048, help="Longer side of the model's input; default 416 or 640.")
    ] = None,
) -> None:
    """See it work: demo cameras (or your own), detections, tracks and events, live in the terminal."""
    from vigil import demo as demo_run

    ok = demo_run.run(source or [], model, image_size, seconds, as_json)
    if not ok:
        raise typer.Exit(FAILED)


@app.command()
def plan(
    file: Annotated[Path | None, typer.Argument(help="A config: its cameras are opened, its models loaded.")] = None,
    streams: Annotated[int, typer.Option(min=1, max=10_000, help="Without a config: so many cameras.")] = 8,
    size: Annotated[str, typer.Option(help="Their picture, WIDTHxHEIGHT.")] = "1920x1080",
    rate: Annotated[int, typer.Option(min=1, max=120, help="Frames a second that they send.")] = 25,
    fps: Annotated[float | None, typer.Option(min=0.1, help="Frames a second to analyse; default: all.")] = None,
    model: Annotated[str, typer.Option(help="Model file or name.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Will it fit? Measures this machine for half a minute and says what is short first, and what to change."""
    from vigil import plan_report, rehearsal

    logging.configure("warning", "console")
    match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", size)
    if match is None:
        raise typer.BadParameter(f"{size!r} is not like 1920x1080", param_hint="--size")
    with plan_report.progress(as_json) as tell:
        if file is not None:
            measured = rehearsal.measure(load(file), tell)
            wanted = measured.streams
        else:
            tell("making sample videos")
            folder = cache_dir().parent / "plan"
            settings = rehearsal.samples(int(match[1]) & ~1, int(match[2]) & ~1, rate, model, folder)
            measured = rehearsal.measure(settings, tell)
            wanted = rehearsal.rated(measured.streams, streams, fps)
    found = planning.plan(wanted, measured.rest_s, rehearsal.cores())
    plan_report.show(found, measured.silent, rehearsal.cores(), as_json)
    if not found.fits:
        raise typer.Exit(FAILED)


def main() -> None:
    """Expected errors are one message, not a traceback."""
    try:
        app()
    except VigilError as error:
        print(f"error: {error} [{error.code}]" if not isinstance(error, ConfigError) else f"error: {error}",
              file=sys.stderr)  # fmt: skip
        sys.exit(BAD_INPUT if isinstance(error, ConfigError) else FAILED)


if __name__ == "__main__":
    main()
