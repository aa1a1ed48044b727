"""Fixtures that start real services, cameras and subscribers, and end whatever they started."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest.scene import Scene, encode
from tests.e2e.real import Inbox, RtspServer, Running, Subscriber
from tests.publish.servers import serving

# What takes long begins first, so that the processes that share the files end together.
LONGEST_FIRST = (
    "test_page", "test_changes", "test_recovery", "test_main_job", "test_whip", "test_sources", "test_parity",
    "test_preview", "test_identity", "test_streams", "test_bridges", "test_described_models", "test_plan",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@contextmanager
def services(folder: Path) -> Iterator[Callable[..., Running]]:
    """Starts `vigil run` with a config given as a dict; whatever is still running at the end is killed."""
    running: list[Running] = []

    def start(config: dict[str, Any], env: dict[str, str] | None = None, wait: bool = True) -> Running:
        defaults = {"site": "test", "state_dir": "state", "http": {"port": 0}, "log": {"format": "json"},
                    "detector": {"model": "starter", "image_size": 320}}  # fmt: skip
        file = folder / "vigil.yaml"
        file.write_text(yaml.safe_dump({**defaults, **config}))
        service = Running(file, env or {})
        running.append(service)
        if wait:
            service.wait_started()
        return service

    try:
        yield start
    finally:
        for service in running:
            service.kill_all()


@contextmanager
def subscriptions() -> Iterator[Callable[[Running], Inbox]]:
    """Subscribes to a running service."""
    with ExitStack() as subscribers:
        yield lambda service: subscribers.enter_context(
            Subscriber(service.addresses["nats"], service.addresses["prefix"])
        )


@contextmanager
def heard_services(folder: Path) -> Iterator[Callable[..., tuple[Running, Inbox]]]:
    """As `services`, with what a subscriber hears of them, from the first word to the last: their NATS server is there
    before them and after them."""
    place = folder / "nats"
    place.mkdir()
    with serving(place) as server, Subscriber(server.url, "vigil.test") as inbox, services(folder) as start:

        def start_heard(config: dict[str, Any], **options: Any) -> tuple[Running, Inbox]:
            return start({**config, "nats": {**config.get("nats", {}), "url": server.url}}, **options), inbox

        yield start_heard


@pytest.fixture
def run_to_its_end(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], tuple[Running, Inbox]]]:
    """Runs a service whose streams end, and it with them; gives it and all that it said."""
    with heard_services(tmp_path) as start:

        def run(config: dict[str, Any]) -> tuple[Running, Inbox]:
            service, inbox = start(config, wait=False)
            assert service.process.wait(110) == 0, service.log.read_text()
            inbox.settle()
            return service, inbox

        yield run


@pytest.fixture
def run_service(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with services(tmp_path) as start:
        yield start


@pytest.fixture
def subscribe() -> Iterator[Callable[[Running], Inbox]]:
    with subscriptions() as start:
        yield start


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of people before a bus: 60 frames at 10 fps, 320x240, H.264."""
    path = tmp_path_factory.mktemp("videos") / "street.mp4"
    encode(Scene("street", "bus.jpg", 10, 6, 320, 240, 0.9), path)
    return path


@contextmanager
def rtsp_servers(street: Path) -> Iterator[Callable[..., RtspServer]]:
    """Starts RTSP servers with the street; the test is skipped where there are none."""
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

    try:
        yield start
    finally:
        for server in servers:
            server.kill()


@pytest.fixture
def rtsp_server(street: Path) -> Iterator[Callable[..., RtspServer]]:
    with rtsp_servers(street) as start:
        yield start
