"""A camera's pictures are timed by its own clock, whatever the network does to them on their way."""

from __future__ import annotations

import asyncio
import re
import statistics
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import rtsp_servers, services, subscriptions
from tests.e2e.real import Inbox, Running, wait_for

DELAY_S = 0.3


class SlowNetwork(threading.Thread):
    """Forwards TCP connections on loopback; what the server sends waits for `delay_s`, in order."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.delay_s = 0.0
        self.port = 0
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()

    def __enter__(self) -> SlowNetwork:
        self.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10)

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _connected(self, camera: asyncio.StreamReader, to_camera: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(10_000)

        async def ask() -> None:
            while data := await camera.read(65536):
                to_server.write(data)

        async def receive() -> None:
            while data := await server.read(65536):
                await under_way.put((time.monotonic() + self.delay_s, data))

        async def deliver() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(due - time.monotonic())
                to_camera.write(data)

        try:
            await asyncio.gather(ask(), receive(), deliver())
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            to_server.close()
            to_camera.close()


@pytest.fixture(scope="module")
def slowed(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Inbox, SlowNetwork]]:
    """One camera three times: `gate` through a network that can be made slow; directly; with its left half hidden."""
    mask = {"left": {"polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}}
    with (
        rtsp_servers(street) as rtsp_server,
        services(tmp_path_factory.mktemp("service")) as start,
        subscriptions() as subscribe,
    ):
        camera = rtsp_server()
        url = camera.url()
        with SlowNetwork(camera.port) as network:
            service = start({"streams": {
                "gate": {"url": url.replace(f":{camera.port}/", f":{network.port}/")},
                "open": {"url": url}, "masked": {"url": url, "privacy_masks": mask},
            }})  # fmt: skip
            yield service, subscribe(service), network


def metric(service: Running, name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", service.get("/metrics"), re.MULTILINE)
    return float(found[1]) if found else None


def origin(frame: dict[str, object]) -> float:
    """When the session's first picture was taken, by this frame."""
    return datetime.fromisoformat(str(frame["captured_at"])).timestamp() - float(str(frame["pts"]))


def test_a_network_that_becomes_slower_delays_frames_and_not_the_times_they_were_taken_at(
    slowed: tuple[Running, Inbox, SlowNetwork],
) -> None:
    service, inbox, slow = slowed

    def by_rtcp() -> list[dict[str, object]]:
        """Those after the first moments, in which times wait for the camera's clock."""
        frames = (frame for frame in inbox.of("gate") if frame["clock"] == "rtcp")
        return [frame for frame in frames if float(str(frame["uncertainty"])) < 0.05]

    wait_for("frames timed by the camera's clock", lambda: len(by_rtcp()) >= 15)
    before = list(by_rtcp())
    delay = 'vigil_camera_delay_seconds{stream="gate"}'
    usual = metric(service, delay)
    assert usual is not None and usual < 1
    assert metric(service, 'vigil_camera_clock_info{clock="rtcp",stream="gate"}') == 1
    slow.delay_s = DELAY_S
    wait_for("the delay rises", lambda: (metric(service, delay) or 0) >= DELAY_S)
    count = len(by_rtcp())
    wait_for("frames through the slow network", lambda: len(by_rtcp()) >= count + 15)
    after = by_rtcp()[count + 5 :]
    # The same clock behind both, to the millisecond: the network is not in it.
    assert statistics.median(map(origin, after)) == pytest.approx(statistics.median(map(origin, before)), abs=0.005)
    assert max(map(origin, after)) - min(map(origin, before)) < 0.05
    times = [frame["captured_at"] for frame in inbox.of("gate")]
    assert times == sorted(times)


def test_what_is_masked_is_not_detected(slowed: tuple[Running, Inbox, SlowNetwork]) -> None:
    """There are people in both halves."""
    _, inbox, _ = slowed

    def lefts(stream: str) -> list[float]:
        return [seen["box"][0] for frame in inbox.of(stream) for seen in frame["objects"]]

    wait_for("objects of both", lambda: len(lefts("open")) > 100 and len(inbox.of("masked")) > 60)
    assert min(lefts("open")) < 120
    assert all(left > 150 for left in lefts("masked"))
    assert max(lefts("masked"), default=160) >= 160, "the rest is seen"
