"""Fixtures that start real services, cameras and subscribers, and end whatever they started."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.scene import Scene, encode
from tests.e2e.real import Inbox, RtspServer, Running, Subscriber


@pytest.fixture
def run_service(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `vigil run` with a config given as a dict; whatever is still running at the end is killed."""
    running: list[Running] = []

    def start(config: dict[str, Any], env: dict[str, str] | None = None, wait: bool = True) -> Running:
        defaults = {"site": "test", "state_dir": "state", "http": {"port": 0}, "log": {"format": "json"},
                    "workers": {"standby": False},
                    "detector": {"model": "starter", "image_size": 320}}  # fmt: skip
        file = tmp_path / "vigil.yaml"
        file.write_text(yaml.safe_dump({**defaults, **config}))
        service = Running(file, env or {})
        running.append(service)
        if wait:
            service.wait_started()
        return service

    yield start
    for service in running:
        service.kill_all()


@pytest.fixture
def subscribe() -> Iterator[Callable[[Running], Inbox]]:
    """Subscribes to a running service."""
    subscribers: list[Subscriber] = []

    def start(service: Running) -> Inbox:
        subscriber = Subscriber(service.addresses["nats"], service.addresses["prefix"])
        subscribers.append(subscriber)
        return subscriber.__enter__()

    yield start
    for subscriber in subscribers:
        subscriber.__exit__()


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of people before a bus: 60 frames at 10 fps, 320x240, H.264."""
    path = tmp_path_factory.mktemp("videos") / "street.mp4"
    encode(Scene("street", "bus.jpg", 10, 6, 320, 240, 0.9), path)
    return path


@pytest.fixture
def rtsp_server(street: Path) -> Iterator[Callable[..., RtspServer]]:
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path("/usr/bin/python3").exists() or subprocess.run(
        ["/usr/bin/python3", "-c", check], stderr=subprocess.DEVNULL, check=False
    ).returncode:  # fmt: skip
        pytest.skip("no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{good,bad}")
    servers: list[RtspServer] = []

    def start(login: str | None = None, options: Sequence[str] = ()) -> RtspServer:
        server = RtspServer("gate", street, login, options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()
