"""`vigil demo`: the whole service on demo cameras, watched from outside by an ordinary NATS subscriber."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nats
import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from inference.model import cache_dir
from ingest.redact import redact
from ingest.scene import SCENES, encoded
from vigil import browser, logging
from vigil.processes import dying_with_us
from vigil.service import Service
from vigil.settings import Settings
from vigil.subscribe import event_line, ignore
from vigil.watcher import KEPT_EVENTS, Watcher

RTSP_SCRIPT = Path(__file__).with_name("rtsp_server.py")
RTSP_NEEDS = "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
STARTER_IMAGE_SIZE = 416
PLAIN_EVERY_S = 2.0
REFRESH_S = 0.25
# A NATS server that was killed is back within a second or two.
RECONNECTS, RECONNECT_S = 20, 0.25
# Somebody did that on the page.
LEFT_ALONE = ("removed", "paused")
# Zones and lines of the demo's own cameras.
RULES: dict[str, dict[str, Any]] = {
    "street": {
        "zones": {"pavement": {"polygon": [[0.02, 0.62], [0.98, 0.62], [0.98, 0.99], [0.02, 0.99]], "dwell": 5}},
        "lines": {"door": {"from": [0.5, 0.2], "to": [0.5, 0.95]}},
    },
    "stage": {"zones": {"left": {"polygon": [[0.02, 0.3], [0.5, 0.3], [0.5, 0.99], [0.02, 0.99]]}}},
    "stop": {"lines": {"kerb": {"from": [0.35, 0.25], "to": [0.35, 0.98]}}},
}


def run(
    sources: list[str], model: str, image_size: int | None, seconds: float | None, as_json: bool, show_page: bool | None
) -> bool:
    """Runs the demo; True when every stream was live, events came back over NATS and no frame was lost to an error.

    `show_page`: whether to open the page in a browser; None: where somebody watches.
    """
    began = time.monotonic()
    console = Console(stderr=as_json)
    live = console.is_terminal and not as_json
    with tempfile.TemporaryDirectory(prefix="vigil-demo-") as folder:
        log_file = Path(folder) / "vigil.log"
        logging.configure("info" if live else "warning", "console", log_file.open("a") if live else None)
        with _cameras(sources, console) as urls:
            settings = _settings(urls, model, image_size, Path(folder))
            show_page = live if show_page is None else show_page
            summary = asyncio.run(_watch(settings, urls, seconds, began, console, live, show_page))
        if live and not summary["ok"]:
            console.print(Text(log_file.read_text()[-4000:]))
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        _print_summary(summary, console)
    return bool(summary["ok"])


@contextmanager
def _cameras(sources: list[str], console: Console) -> Iterator[dict[str, str]]:
    """URLs or paths by stream id; the last demo camera is served over RTSP where that is possible."""
    if sources:
        yield {f"cam{index}": source for index, source in enumerate(sources, 1)}
        return
    folder = cache_dir().parent / "demo"
    with ThreadPoolExecutor() as pool:
        files = list(pool.map(lambda scene: encoded(scene, folder), SCENES))
    urls = {scene.name: str(file) for scene, file in zip(SCENES, files, strict=True)}
    last = SCENES[-1].name
    server = _start_rtsp(last, urls[last])
    if server is None:
        console.print(f"No RTSP server here, so all cameras are files. For one: apt-get install {RTSP_NEEDS}")
        yield urls
        return
    process, port = server
    try:
        yield {**urls, last: f"rtsp://127.0.0.1:{port}/{last}"}
    finally:
        process.terminate()
        process.wait()


def _start_rtsp(name: str, file: str) -> tuple[subprocess.Popen[str], int] | None:
    """GStreamer's RTSP server under the system's Python; None when that is not installed."""
    python = next(
        (path for path in ("/usr/bin/python3", shutil.which("python3")) if path and Path(path).exists()), None
    )
    if python is None:
        return None
    process = subprocess.Popen(
        dying_with_us(python, str(RTSP_SCRIPT), "--port", "0", f"{name}={file}"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        return None
    return process, int(json.loads(line)["port"])


def _settings(urls: dict[str, str], model: str, image_size: int | None, folder: Path) -> Settings:
    """A config file like a user's, so that cameras and zones can be changed on the page as well."""
    if image_size is None:
        image_size = STARTER_IMAGE_SIZE if model == "starter" else 640
    streams = {
        name: {"url": str(Path(url).resolve()), "loop": True} if "://" not in url else {"url": url}
        for name, url in urls.items()
    }
    for name, rules in RULES.items():
        if name in streams:
            streams[name] |= {**rules, "snapshots": {}}
    file = folder / "vigil.yaml"
    file.write_text(yaml.safe_dump({
        "site": "demo",
        "state_dir": str(folder / "state"),
        "http": {"port": 0},
        "detector": {"model": model, "image_size": image_size, "confidence": 0.3},
        "streams": streams,
    }))  # fmt: skip
    return Settings.read(file)


async def _watch(
    settings: Settings,
    urls: dict[str, str],
    seconds: float | None,
    began: float,
    console: Console,
    live: bool,
    show_page: bool,
) -> dict[str, Any]:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    service = Service(settings.config(), settings)
    serving = asyncio.create_task(service.run(stop))
    started = asyncio.create_task(service.started.wait())
    with console.status("starting; the first time on a machine takes up to a minute, as code is compiled"):
        await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        started.cancel()
        await serving
        raise SystemExit(130)  # interrupted while starting
    assert service.http_url is not None
    opened = show_page and browser.show(service.http_url)
    console.print(f"the page: {service.http_url}" + (", opened in your browser" if opened else ""), highlight=False)
    watcher = Watcher({name: redact(url) for name, url in urls.items()}, began)
    # Not for ever: under Python 3.11 it may overlook that it is cancelled, and the demo would not end.
    client = await nats.connect(
        service.nats_url, max_reconnect_attempts=RECONNECTS, reconnect_time_wait=RECONNECT_S, error_cb=ignore
    )
    await client.subscribe(service.subjects.all_frames, cb=watcher.on_frame)
    await client.subscribe(service.subjects.all_events, cb=watcher.on_event)
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, stop.set)
    await _show(service, watcher, stop, console, live)
    elapsed_s = time.monotonic() - began
    states = {name: view.state for name, view in service.streams.items()}
    await serving  # the last events and counts come as the service drains
    await client.close()
    return _summary(service, watcher, states, elapsed_s)


async def _show(service: Service, watcher: Watcher, stop: asyncio.Event, console: Console, live: bool) -> None:
    """The figures until `stop`: a table that updates in place on a terminal, plain lines elsewhere."""
    if live:
        with Live(console=console, refresh_per_second=4, screen=False) as view:
            while not stop.is_set():
                view.update(_table(service, watcher))
                await _pause(stop, REFRESH_S)
        return
    told = 0
    while not stop.is_set():
        await _pause(stop, PLAIN_EVERY_S)
        now = time.monotonic()
        fresh = sum(watcher.types.values()) - told
        for event in list(watcher.events)[-fresh:] if fresh else []:
            console.print(event_line(event), highlight=False, soft_wrap=True)
        told += fresh
        for name, figures in watcher.streams.items():
            latency = figures.latency_ms()
            console.print(
                f"{name}: {_state(service, name)}, {figures.fps(now):.1f} fps, "
                f"latency {f'{latency:.0f} ms' if latency is not None else '-'}, {figures.tracks_now} tracks",
                highlight=False, soft_wrap=True,
            )  # fmt: skip


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _state(service: Service, stream: str) -> str:
    view = service.streams.get(stream)
    return view.state if view is not None else "removed"


def _table(service: Service, watcher: Watcher) -> Group:
    """Fits 80 columns."""
    now = time.monotonic()
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for title, justify in (("stream", "left"), ("state", "left"), ("fps", "right"), ("latency", "right"),
                           ("tracks", "right"), ("seen", "left")):  # fmt: skip
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for name, figures in watcher.streams.items():
        latency = figures.latency_ms()
        state = _state(service, name)
        table.add_row(
            name, Text(state, style="green" if state == "live" else "yellow"), f"{figures.fps(now):.1f}",
            f"{latency:.0f} ms" if latency is not None else "-", str(figures.tracks_now),
            ", ".join(kind for kind, _ in figures.seen.most_common(3)),
        )  # fmt: skip
    model = next(iter(service.models()), None)
    head = Text(
        f"Vigil  {model.name} on {model.runtime}/{model.device} ({model.precision})" if model else "Vigil", "bold"
    )
    page = Text(f"Watch at {service.http_url}", style="bold cyan")
    addresses = Text(f"{service.nats_url}  {service.subjects.prefix}.>", style="dim")
    lines = [Text(event_line(event)[:79]) for event in watcher.events]
    lines += [Text("")] * (KEPT_EVENTS - len(lines))
    return Group(head, page, addresses, Text(""), table, Text(""), Text("events", style="bold"), *lines, Text(""),
                 Text("Ctrl-C ends it", style="dim"))  # fmt: skip


def _summary(service: Service, watcher: Watcher, states: dict[str, str], elapsed_s: float) -> dict[str, Any]:
    streams: dict[str, Any] = {}
    for name, figures in watcher.streams.items():
        outcomes = {
            fate: int(service.metrics.value("vigil_frames_total", stream=name, outcome=fate))
            for fate in ("decoded", "analysed", "dropped_ring", "dropped_stale", "dropped_detector", "dropped_error",
                         "skipped_sample")
        }  # fmt: skip
        latencies = sorted(figures.latencies_ms)
        span = figures.arrivals[-1] - figures.first if figures.first is not None else 0.0
        streams[name] = {
            "source": figures.source,
            "state": states.get(name, "removed"),
            "live": states.get(name) == "live" and figures.frames > 0,
            "results": figures.frames,
            "fps": round(figures.frames / span, 2) if span else 0.0,
            "latency_ms": {
                "p50": round(latencies[len(latencies) // 2], 1),
                "p95": round(latencies[int(len(latencies) * 0.95)], 1),
            } if latencies else None,
            "tracks": len(figures.track_ids),
            "events": figures.events,
            "classes": dict(figures.seen.most_common()),
            "frames": outcomes,
        }  # fmt: skip
    errors = sum(stream["frames"]["dropped_error"] for stream in streams.values())
    received = sum(watcher.types.values())
    return {
        "ok": all(stream["live"] or stream["state"] in LEFT_ALONE for stream in streams.values())
        and received > 0
        and errors == 0,
        "seconds": round(elapsed_s, 1),
        "models": [model.to_json() for model in service.models()],
        "streams": streams,
        "live_streams": sum(stream["live"] for stream in streams.values()),
        "events_received": received,
        "events": dict(watcher.types),
        "first_event_s": round(watcher.first_event_s, 2) if watcher.first_event_s is not None else None,
        "dropped_by_error": errors,
    }


def _print_summary(summary: dict[str, Any], console: Console) -> None:
    """Fits 80 columns."""
    verdict = "ok" if summary["ok"] else "NOT OK"
    first = summary["first_event_s"]
    lines = [
        f"{verdict}: {summary['live_streams']} of {len(summary['streams'])} streams live, {summary['events_received']} "
        f"events back from NATS in {summary['seconds']:.0f} s" + (f", first after {first:.1f} s" if first else "")
    ]
    for name, stream in summary["streams"].items():
        dropped = sum(count for fate, count in stream["frames"].items() if fate.startswith("dropped"))
        latency = stream["latency_ms"]
        lines.append(
            f"  {name:<8} {stream['fps']:.1f} fps, {stream['results']} results, {stream['tracks']} tracks, "
            f"{dropped} dropped" + (f", {latency['p50']:.0f} ms (p95 {latency['p95']:.0f} ms)" if latency else "")
        )
    console.print("\n" + "\n".join(lines), highlight=False, soft_wrap=True)
    if not summary["ok"]:
        print("the demo did not see every stream live and events back from NATS", file=sys.stderr)
