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
from typing import Annotated

import typer

from ingest.errors import VigilError
from publish.schema import MESSAGES
from vigil import __version__, logging, outbox_cli, streams_cli
from vigil import plan as planning
from vigil.config import VigilConfig
from vigil.document import ConfigError
from vigil.load import load

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Cameras in, tracked events out on NATS.", rich_markup_mode=None
)
app.add_typer(streams_cli.app, name="streams")
app.command()(outbox_cli.outbox)
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
    from vigil import forkserver
    from vigil.settings import Settings

    settings = Settings.read(config)
    found = settings.config()
    logging.configure(found.log.level, found.log.format)
    launched = forkserver.launch()  # it imports what it needs while we do
    from vigil.service import Service

    async def main() -> Service:
        service = Service(found, settings, launched)
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
    probe: Annotated[bool, typer.Option(help="Open each camera and NATS, and report what they say.")] = False,
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
    probes, nats = [], None
    if probe:
        from vigil import check as checks

        probes = checks.probe(settings)
        nats = asyncio.run(checks.probe_nats(settings))
    ok = all(result.ok for result in probes) and (nats is None or nats.ok)
    if as_json:
        asked = {"nats": asdict(nats)} if nats is not None else {}
        told = {"ok": ok, "problems": [], "probes": [asdict(p) for p in probes], **asked}
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(f"{file}: the config is valid ({len(settings.streams)} streams, site {settings.site})")
        for result in probes:
            said = result.description if result.ok else f"{result.reason}: {result.detail}"
            typer.echo(f"  {'ok  ' if result.ok else 'FAIL'} {result.stream:<16} {said} ({result.seconds:g} s)")
        if nats is not None:
            said = nats.description if nats.ok else f"{nats.detail} [{nats.code}]"
            typer.echo(f"  {'ok  ' if nats.ok else 'FAIL'} {'(NATS)':<16} {said}")
            for one in nats.differs:
                typer.echo(f"       {one}")
    if not ok:
        raise typer.Exit(FAILED)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The config to be served here.")] = None,
    probe: Annotated[bool, typer.Option("--probe", help="Open each camera, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is wrong on this machine, and the mend: NATS, devices, decoders, ports, WebRTC, disk, memory, clock."""
    from vigil.doctor import report
    from vigil.doctor.examine import examine, failed
    from vigil.doctor.finding import Installation
    from vigil.plan_report import progress

    logging.configure("error", "console")
    settings = load(config) if config is not None else VigilConfig(streams={})
    with progress(as_json):
        findings = asyncio.run(examine(Installation.here(settings), probe))
    if as_json:
        typer.echo(report.as_json(findings))
    else:
        report.show(findings)
    if failed(findings):
        raise typer.Exit(FAILED)


@app.command()
def discover(
    user: Annotated[
        str | None, typer.Option(envvar="VIGIL_ONVIF_USER", help="The cameras' ONVIF user, to learn their streams.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="VIGIL_ONVIF_PASSWORD",
            help="Its password. A command line is seen by others: better the variable, or --ask-password.",
        ),
    ] = None,
    ask_password: Annotated[
        bool, typer.Option("--ask-password", help="Ask for the password, without an echo.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.5, max=120, help="Seconds to search, and for each camera to answer.")
    ] = 5.0,
    interface: Annotated[
        str | None, typer.Option(help="Search from this interface, such as eth0 or 10.0.0.5; default: all.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="Ask this camera instead of searching, such as 10.0.0.12; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the ONVIF cameras on the network, as a config to paste."""
    from ingest import discovery
    from ingest.onvif import Login
    from vigil import discover as discoverer
    from vigil.plan_report import progress

    if ask_password:
        password = typer.prompt("Password", hide_input=True, err=True)
    if (user is None) != (password is None):
        raise typer.BadParameter("give a user and a password (or --ask-password), or neither", param_hint="--user")
    login = Login(user, password) if user is not None and password is not None else None
    try:
        addresses = discovery.interfaces(interface)
        hosts = [discoverer.host(name) for name in host or []]
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host" if host else "--interface") from None
    with progress(as_json) as tell:
        cameras = asyncio.run(discoverer.discover(addresses, hosts, login, timeout, tell))
    if not cameras:
        typer.echo(discoverer.NONE_FOUND, err=True)
    typer.echo(discoverer.to_json(cameras, login) if as_json else discoverer.fragment(cameras, login), nl=as_json)


@app.command()
def events(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="Config of the service to listen to.")] = None,
    nats: Annotated[str | None, typer.Option(help="NATS URL, instead of the config's.")] = None,
    site: Annotated[str, typer.Option(help="Site to listen to when no config is given.")] = "local",
    stream: Annotated[list[str] | None, typer.Option(help="Only this stream; repeatable.")] = None,
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only this type, such as track.started; repeatable.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="First those since: 30s, 10m, 2h, 1d, or an ISO time.")] = None,
    follow: Annotated[
        bool, typer.Option(help="Go on as they happen; or only what is kept, all of it without --since.")
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Show events: those that JetStream keeps, and as they happen."""
    from vigil.subscribe import chosen, event_line
    from vigil.subscribe import events as subscribe

    start = _since(since) if since else None
    address = chosen(config, nats, site)

    async def main() -> None:
        shown = 0
        async with contextlib.aclosing(subscribe(address, stream or (), event_type or (), start, follow)) as found:
            async for event in found:
                print(event.model_dump_json() if as_json else event_line(event), flush=True)
                shown += 1
                if shown == limit:
                    return

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


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
    messages: Annotated[
        Path | None, typer.Option(help="Write every message's schema and the AsyncAPI document to this folder instead.")
    ] = None,
) -> None:
    """Print the JSON Schema of the config, for editors, or of a message; or write all that documents the messages."""
    if messages is not None:
        from publish.contract import files

        if message is not None:
            raise typer.BadParameter("writes every message's schema: leave --message out", param_hint="--messages")
        try:
            files.write(messages)
        except OSError as error:
            raise typer.BadParameter(
                f"cannot write {error.filename}: {error.strerror}", param_hint="--messages"
            ) from None
    elif message is None:
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
    seconds: Annotated[float | None, typer.Option(min=1, help="End so long after the start, with a summary.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    image_size: Annotated[
        int | None, typer.Option(min=64, max=2048, help="Longer side of the model's input; default 416 or 640.")
    ] = None,
    open_page: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the page in a browser; default: on a terminal with a display."),
    ] = None,
) -> None:
    """See it work: demo cameras (or your own), detections, tracks and events, in the browser and in the terminal."""
    from vigil import demo as demo_run

    ok = demo_run.run(source or [], model, image_size, seconds, as_json, open_page)
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
            from inference.model import cache_dir

            folder = cache_dir().parent / "plan"
            settings = rehearsal.samples(int(match[1]) & ~1, int(match[2]) & ~1, rate, model, folder)
            measured = rehearsal.measure(settings, tell)
            wanted = rehearsal.rated(measured.streams, streams, fps)
    found = planning.plan(wanted, measured.rest_s, rehearsal.cores())
    plan_report.show(found, measured.silent, rehearsal.cores(), as_json)
    if not found.fits:
        raise typer.Exit(FAILED)


@app.command()
def bench(
    model: Annotated[list[str] | None, typer.Option(help="Model file or name, one or several.")] = None,
    image_size: Annotated[
        list[int] | None,
        typer.Option(min=64, max=2048, help="Longer side of its input, one or several; default: 320, 416 and 640."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder of what your cameras see: int8 is tried too."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="How long each way is measured.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Which model, size and number format for this machine? Measures how fast each is, and how rightly it sees."""
    from vigil import bench as benching
    from vigil import bench_report
    from vigil.plan_report import progress

    logging.configure("warning", "console")
    sizes = image_size or benching.SIZES
    if unfit := [size for size in sizes if size % 32]:
        raise typer.BadParameter(f"{unfit[0]} is not a multiple of 32", param_hint="--image-size")
    with progress(as_json) as tell:
        told = [one for name in model or ["auto"] for one in benching.bench(name, sizes, pictures, seconds, tell)]
    bench_report.show(told, as_json)
    if not any(isinstance(one, benching.Measured) for one in told):
        raise typer.Exit(FAILED)


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(exists=True, help="Video files, or folders of pictures.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Take a stream's settings from this config.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Which stream, where the config has several.")] = None,
    model: Annotated[str | None, typer.Option(help="Model file or name, instead of the config's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results; default: this one.")] = None,
    mot: Annotated[bool, typer.Option("--mot", help="Write tracks as MOT text.")] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Write frame results and events as JSON Lines.")] = False,
    video: Annotated[bool, typer.Option("--video", help="Write an annotated video.")] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Tell what the stream's `attention` would have missed of all that.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Recordings to analyse at once.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Analyse recordings, every frame, as fast as they go: to tune zones, to test, to work off an archive."""
    from vigil import replay_report
    from vigil.replay import Request, check_targets, run

    logging.configure("warning", "console")
    if stream is not None and config is None:
        raise typer.BadParameter("is one of a config: give --config as well", param_hint="--stream")
    if audit and config is None:
        raise typer.BadParameter("is about a stream's `attention`: give --config as well", param_hint="--audit")
    if out is not None and not (mot or jsonl or video):
        raise typer.BadParameter("say what to write there: --mot, --jsonl or --video", param_hint="--out")
    request = Request(
        config=config, stream=stream, model=model, out=out or Path(), mot=mot, jsonl=jsonl, video=video, audit=audit
    )
    try:
        check_targets(request, files)
        request.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--out") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing half written is left
    with replay_report.progress(len(files)) as tell:
        outcomes = run(request, files, jobs, tell)
    replay_report.show(outcomes, as_json)
    if any(outcome.error for outcome in outcomes):
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
