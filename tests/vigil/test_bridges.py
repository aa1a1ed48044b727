"""The bridges' process follows the config and comes back when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from publish.metrics import MergedMetrics
from tests.publish.bridges.real import Heard, Jet, NatsServer, Peer, event, eventually, jet, listener, peer
from vigil.bridges import BRIDGES_STOP_S, Bridges
from vigil.child import Child
from vigil.config import VigilConfig

TOKEN = "t0p-s3cr3t"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    started = NatsServer(tmp_path)
    yield started
    started.kill()


def config(server: NatsServer, **bridges: Any) -> VigilConfig:
    streams = {"gate": {"url": "rtsp://10.0.0.1/x"}}
    return VigilConfig.model_validate(
        {"site": "hq", "nats": {"url": server.url}, "streams": streams, "bridges": bridges}
    )


def webhook(peer: Peer, **more: Any) -> dict[str, Any]:
    return {"kind": "webhook", "url": peer.url, "headers": {"Authorization": f"Bearer {TOKEN}"}, **more}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    folder = tmp_path / "broker"
    folder.mkdir()
    started = NatsServer(folder, mqtt="")
    yield started
    started.kill()


@asynccontextmanager
async def supervised(server: NatsServer) -> AsyncIterator[tuple[Bridges, Jet]]:
    children, tasks = list[Child](), list[asyncio.Task[None]]()

    def task(work: Coroutine[Any, Any, None], name: str) -> None:
        tasks.append(asyncio.create_task(work, name=name))

    bridges = Bridges(MergedMetrics(), children.append, task, lambda: server.url)
    async with jet(server) as nats:
        try:
            yield bridges, nats
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*(child.stop(BRIDGES_STOP_S) for child in children))


def test_bridges_come_change_and_go_with_the_config_and_outlive_their_process(
    server: NatsServer, broker: NatsServer
) -> None:
    async def change_and_kill(one: Peer, other: Peer, heard: Heard) -> None:
        home = {"kind": "mqtt", "url": f"mqtt://127.0.0.1:{broker.mqtt_port}"}
        async with supervised(server) as (bridges, nats):
            bridges.want(config(server))
            assert bridges.child is None

            bridges.want(config(server, door=webhook(one), bell=webhook(other, types=["track.ended"])))
            await nats.publish(event(1))
            await eventually("the first", lambda: one.tracks() == [1])
            assert one.requests[0][0]["authorization"] == f"Bearer {TOKEN}"

            bridges.want(config(server, door=webhook(other), home=home))
            await nats.publish(event(2), event(2, kind="track.ended"))
            await eventually("by the changed one", lambda: len(other.got) == 2)

            await eventually("by MQTT as well", lambda: heard["vigil/hq/available"] == "online")

            assert bridges.child is not None
            os.kill(bridges.child.pid, signal.SIGKILL)
            await eventually("its last will", lambda: heard["vigil/hq/available"] == "offline")
            await nats.publish(event(3))
            await eventually("by the one that came back", lambda: 3 in other.tracks())
            await eventually("by MQTT again", lambda: heard["vigil/hq/available"] == "online")
            assert one.tracks() == [1]

            await eventually("what it counted", lambda: bridges.states()[0]["delivered"])
            await eventually("nothing is left", lambda: bridges.states()[0]["pending"] == 0)
            state, _ = bridges.states()
            assert (state["name"], state["state"]) == ("door", "delivering")
            assert TOKEN not in str(bridges.states())
            assert "s3cr3t" not in str(bridges.states())

            bridges.want(config(server))
            await eventually("the process has gone", lambda: bridges.child is None)
            bridges.want(config(server, door=webhook(other)))
            await nats.publish(event(4))
            await eventually("by a new one", lambda: 4 in other.tracks())
            await nats.publish(*(event(number) for number in range(5, 20)))  # and then it is stopped

    async def play() -> None:
        async with peer() as one, peer() as other, listener(broker) as heard:
            await change_and_kill(one, other, heard)
            assert other.tracks()[-16:] == list(range(4, 20))

    asyncio.run(play())
