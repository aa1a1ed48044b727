"""The preview process comes for the first viewer, knows every worker, and comes back when it dies."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ingest.webrtc.config import WebRtcConfig
from publish.metrics import MergedMetrics
from publish.preview.wire import Unpacker, Watch
from tests.publish.preview.stage import Player, until
from vigil import forkserver
from vigil.asking import DeclinedError
from vigil.child import Child
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.forkserver import PREVIEW, ForkServer
from vigil.previews import PREVIEW_STOP_S, NoStreamError, PreviewDisabledError, Previews

ANY = WebRtcConfig().in_clear()


class StandIn:
    """A worker as the supervisor sees it, and what the preview process says to it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ends: list[socket.socket] = []
        self._unpacker = Unpacker()

    def send(self, kind: str, fds: tuple[int, ...] = (), **_: Any) -> None:
        assert kind == "preview"
        self.ends.append(socket.fromfd(fds[0], socket.AF_UNIX, socket.SOCK_STREAM))
        self.ends[-1].setblocking(False)

    def heard(self) -> list[Any]:
        try:
            return list(self._unpacker.feed(self.ends[-1].recv(1 << 16)))
        except BlockingIOError:
            return []


class House:
    """A supervisor with the preview and stand-ins for its workers."""

    def __init__(self, forks: ForkServer) -> None:
        self.metrics = MergedMetrics()
        self.workers: dict[StandIn, list[str]] = {StandIn("worker-0"): ["gate"], StandIn("worker-1"): ["yard"]}
        self.children: list[Child] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._forks = forks
        self.previews = Previews(self.metrics, self._spawn, self._task, lambda: self.workers.items())  # type: ignore[arg-type]

    async def _spawn(self, name: str, hear: Callable[[Child, Order], None]) -> Child:
        self.children.append(Child(name, await self._forks.fork(name, PREVIEW), hear))
        return self.children[-1]

    def _task(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.create_task(work, name=name))

    def want(self, **preview: Any) -> None:
        streams = {"gate": {"url": "rtsp://10.0.0.1/x"}, "yard": {"url": "rtsp://10.0.0.2/x"}}
        self.previews.want(VigilConfig.model_validate({"streams": streams, "preview": preview}))

    async def play(self, stream: str = "gate") -> dict[str, Any]:
        offer = await Player().offer()
        return await self.previews.ask(
            "whep.offer", stream, session=str(time.monotonic()), sdp=offer, overlay="client", webrtc=ANY
        )


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    forks = ForkServer(forkserver.launch([PREVIEW]))
    made = House(forks)
    try:
        yield made
    finally:
        for child in made.children:
            await child.stop(PREVIEW_STOP_S)
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        await forks.stop(2.0)


def test_it_is_started_linked_restarted_and_follows_the_config() -> None:
    async def serve() -> None:
        async with house() as supervisor:
            supervisor.want(viewers_per_stream=1)
            with pytest.raises(NoStreamError):
                await supervisor.play("nowhere")
            assert not supervisor.children, "nobody watches"
            gate, yard = supervisor.workers

            assert (await supervisor.play())["overlay"] == "client"
            (watch,) = await until("the stream's worker is asked", gate.heard)
            assert isinstance(watch, Watch)
            assert watch.stream == "gate"
            assert len(yard.ends) == 1
            assert not yard.heard()
            with pytest.raises(DeclinedError) as refusal:
                await supervisor.play()
            assert refusal.value.code == "preview.too_many_viewers"
            supervisor.want(viewers_per_stream=2)
            await supervisor.play()

            replacement = StandIn("worker-0")
            supervisor.workers = {replacement: ["gate"], yard: ["yard"]}
            supervisor.previews.look_after()
            assert [one.stream for one in await until("the new worker is asked", replacement.heard)] == ["gate"]
            supervisor.workers = {replacement: [], yard: ["gate", "yard"]}
            supervisor.previews.look_after()
            await until("the stream is asked for where it is now", yard.heard)

            supervisor.children[0].kill()
            await until("its end is seen", lambda: supervisor.previews.child is not supervisor.children[0])
            assert (await supervisor.play())["sdp"]
            assert len(supervisor.children) == 2

            supervisor.want(enabled=False)
            await until("it ends", supervisor.children[1].ended.is_set)
            with pytest.raises(PreviewDisabledError):
                await supervisor.play()

    asyncio.run(serve())
