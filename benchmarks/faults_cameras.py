"""Cameras that break in one way each, and the list of those ways.

A camera is healthy until `fail` and again after `mend`; both return at once. All servers are real and on loopback.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from benchmarks.faults_proxy import Road, Spoiler, Traffic, flipped, shifted, truncated
from benchmarks.faults_udp import LossyRoad, Weather
from ingest.scene import Scene, encoded
from tests.e2e.real import RtspServer, Running

FPS = 10
PASSWORD, OTHER_PASSWORD = "one", "another"
# The share of packets that are damaged: a few in every picture.
DAMAGED = 0.1
HOUR_TICKS = 3600 * 90_000
# Scenarios that must not end the stream are watched for so long.
HOLD_S = 8.0


@dataclass(frozen=True, slots=True)
class Camera:
    """One stream's source. `fail` is told of the service, for faults that are in there."""

    url: str
    fail: Callable[[Running], object]
    mend: Callable[[], object] = lambda: None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to break.

    Attributes:
        what: for the table.
        camera: makes the camera in a folder, and takes it down again.
        reasons: why the stream is to leave the live state, where any other reason would be a detour; empty: whatever.
        hold_s: how long the fault lasts; None: until the stream has left the live state.
        survives: the stream is to stay live throughout.
        takes_worker: harms the worker, not only the stream: a neighbour in there cannot but notice. It gets a service
            of its own.
    """

    what: str
    camera: Callable[[Path], AbstractContextManager[Camera]]
    reasons: tuple[str, ...] = ()
    hold_s: float | None = None
    survives: bool = False
    takes_worker: bool = False


def street(folder: Path, width: int = 320, height: int = 240, seconds: int = 6) -> Path:
    """H.264 in MP4, a key frame every second."""
    return encoded(Scene("street", "bus.jpg", FPS, seconds, width, height, 0.9), folder)


def street_as(folder: Path, codec: str, ending: str) -> Path:
    """The street in another codec and container."""
    target = folder / f"street-{codec}{ending}"
    if not target.is_file():
        with av.open(str(street(folder))) as source, av.open(str(target), "w") as out:
            options = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=10:bframes=0", "bf": "0", "g": "10"}
            video = source.streams.video[0]
            stream = out.add_stream(codec, rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
            for picture in source.decode(video):
                picture.pict_type = 0
                out.mux(stream.encode(picture))
            out.mux(stream.encode())
    return target


@contextmanager
def serving(*files: Path, login: str | None = None, codec: str = "h264") -> Iterator[RtspServer]:
    server = RtspServer("cam", files[0], login, ("--codec", codec), files[1:])
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.kill()


# -- the server


@contextmanager
def killed(folder: Path) -> Iterator[Camera]:
    with serving(street(folder)) as server:
        yield Camera(server.url(), lambda _: server.kill(), server.start)


@contextmanager
def restarted(folder: Path) -> Iterator[Camera]:
    def restart(_: Running) -> None:
        server.kill()
        server.start()

    with serving(street(folder)) as server:
        yield Camera(server.url(), restart)


@contextmanager
def paused(folder: Path) -> Iterator[Camera]:
    with serving(street(folder)) as server:
        yield Camera(
            server.url(),
            lambda _: server.process.send_signal(signal.SIGSTOP),
            lambda: server.process.send_signal(signal.SIGCONT),
        )


@contextmanager
def password_changed(folder: Path) -> Iterator[Camera]:
    def change(password: str) -> None:
        server.kill()
        server.login = f"viewer:{password}"
        server.start()

    with serving(street(folder), login=f"viewer:{PASSWORD}") as server:
        yield Camera(
            server.url(f"viewer:{PASSWORD}"), lambda _: change(OTHER_PASSWORD), lambda: change(PASSWORD)
        )  # fmt: skip


@contextmanager
def two_sizes(folder: Path) -> Iterator[Camera]:
    with serving(street(folder, seconds=3), street(folder, 480, 360, seconds=3)) as server:
        yield Camera(server.url(), lambda _: None)


# -- the road to it


def on_the_road(change: Callable[[Road], object], mend: Callable[[Road], object]) -> Callable[[Path], Any]:
    @contextmanager
    def camera(folder: Path) -> Iterator[Camera]:
        with serving(street(folder)) as server, Road(server.port) as road:
            yield Camera(road.url("cam"), lambda _: change(road), lambda: mend(road))

    return camera


def jammed(traffic: Traffic, reset: bool) -> Callable[[Path], Any]:
    def change(road: Road) -> None:
        road.set(traffic)
        if reset:
            road.reset()

    return on_the_road(change, lambda road: road.set(Traffic.FLOWS))


def spoilt(spoiler: Callable[[], Spoiler], codec: str = "h264") -> Callable[[Path], Any]:
    @contextmanager
    def camera(folder: Path) -> Iterator[Camera]:
        def spoil(by: Spoiler | None) -> None:
            road.spoil = by

        file = street(folder) if codec == "h264" else street_as(folder, "libx265", ".mp4")
        with serving(file, codec=codec) as server, Road(server.port) as road:
            yield Camera(road.url("cam"), lambda _: spoil(spoiler()), lambda: spoil(None))

    return camera


def weather(loss: float = 0.0, jitter_s: float = 0.0) -> Callable[[Path], Any]:
    @contextmanager
    def camera(folder: Path) -> Iterator[Camera]:
        def become(new: Weather) -> None:
            road.weather.loss, road.weather.jitter_s = new.loss, new.jitter_s

        with serving(street(folder)) as server, LossyRoad(server.port) as road:
            yield Camera(
                road.url("cam"),
                lambda _: become(Weather(loss, jitter_s)),
                lambda: become(Weather()),
                {"transport": "udp"},
            )

    return camera


# -- files


def file_becomes(make: Callable[[Path], object]) -> Callable[[Path], Any]:
    """A looping file that is emptied under its reader, and what its path leads to from then on."""

    @contextmanager
    def camera(folder: Path) -> Iterator[Camera]:
        content = street_as(folder, "libx264", ".ts").read_bytes()
        path = folder / f"looping-{id(make)}.ts"
        path.write_bytes(content)

        def fail(_: Running) -> None:
            os.truncate(path, 0)
            path.unlink()
            make(path)

        def mend() -> None:
            whole = path.with_suffix(".part")
            whole.write_bytes(content)
            whole.replace(path)

        yield Camera(str(path), fail, mend, {"loop": True})

    return camera


# -- the service itself


@contextmanager
def worker_killed(folder: Path) -> Iterator[Camera]:
    def kill(service: Running) -> None:
        """The one that has a connection to the camera."""
        next(
            worker for worker in service.children()["worker"]
            if any(one.raddr and one.raddr.port == server.port for one in worker.net_connections())
        ).kill()  # fmt: skip

    with serving(street(folder)) as server:
        yield Camera(server.url(), kill)


FAULTS: dict[str, Fault] = {
    "killed": Fault("RTSP server killed, started again", killed),
    "restarted": Fault("RTSP server killed and started at once", restarted),
    "paused": Fault("RTSP server stopped (SIGSTOP) mid-frame", paused),
    "black_holed": Fault("TCP connection carries nothing any more", jammed(Traffic.HELD, reset=False)),
    "reset": Fault("TCP connection reset", on_the_road(Road.reset, lambda _: None)),
    "mute": Fault("server accepts and says nothing", jammed(Traffic.HELD, reset=True), reasons=("timeout",)),
    "slow_loris": Fault(
        "server answers one byte at a time", jammed(Traffic.TRICKLES, reset=True), reasons=("timeout",)
    ),
    "turned_away": Fault("server accepts and closes", jammed(Traffic.TURNED_AWAY, reset=True)),
    "wrong_password": Fault("the camera's password was changed, and changed back", password_changed, ("auth",)),
    "loss_1": Fault("UDP: 1% of packets lost", weather(0.01), hold_s=HOLD_S, survives=True),
    "loss_5": Fault("UDP: 5% of packets lost", weather(0.05), hold_s=HOLD_S, survives=True),
    "loss_20": Fault("UDP: 20% of packets lost", weather(0.2), hold_s=HOLD_S, survives=True),
    "jitter_300": Fault("UDP: packets late by 0 to 300 ms", weather(jitter_s=0.3), hold_s=HOLD_S, survives=True),
    "h264_flipped": Fault(
        "H.264: bits flipped in a tenth of the packets", spoilt(lambda: flipped(1, DAMAGED)), (), HOLD_S, True
    ),
    "h264_truncated": Fault(
        "H.264: a tenth of the packets cut short", spoilt(lambda: truncated(1, DAMAGED)), (), HOLD_S, True
    ),
    "h265_flipped": Fault(
        "H.265: bits flipped in a tenth of the packets", spoilt(lambda: flipped(1, DAMAGED), "h265"), (), HOLD_S, True
    ),
    "h265_truncated": Fault(
        "H.265: a tenth of the packets cut short", spoilt(lambda: truncated(1, DAMAGED), "h265"), (), HOLD_S, True
    ),
    "resolution": Fault("320x240 and 480x360 in turn, every 3 s", two_sizes, hold_s=HOLD_S, survives=True),
    "pts_ahead": Fault(
        "timestamps jump ahead an hour, and back", spoilt(lambda: shifted(HOUR_TICKS)), (), HOLD_S, True
    ),
    "pts_back": Fault("timestamps jump back an hour, and on", spoilt(lambda: shifted(-HOUR_TICKS)), (), HOLD_S, True),
    "file_empty": Fault("a looping file becomes one of zero bytes", file_becomes(Path.touch)),
    "file_endless": Fault(
        "a looping file becomes one of endless zeros", file_becomes(lambda path: path.symlink_to("/dev/zero"))
    ),
    "stuck_call": Fault(
        "a call into FFmpeg never returns: it opens a pipe that nobody writes to",
        file_becomes(os.mkfifo),
        reasons=("hang", "stuck", "timeout"),
        takes_worker=True,
    ),
    "worker_killed": Fault("the stream's worker is killed (SIGKILL)", worker_killed, takes_worker=True),
}
