"""Real servers for the tests of bridges: NATS (an MQTT broker too, if wanted) and an HTTP peer with its own will."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import nats
from aiohttp import web
from nats.aio.client import Client
from nats.js.api import StreamConfig
from prometheus_client import CollectorRegistry

from publish.bridges import new_bridge
from publish.bridges.config import MqttConfig, WebhookConfig
from publish.bridges.consumer import EventsConsumer
from publish.bridges.contract import Scene, Surroundings
from publish.bridges.metrics import BridgeMetrics
from publish.bridges.runner import Runner, Standing
from publish.subjects import EVENTS_STREAM, STATUS_STREAM, Subjects
from vigil.nats_server import find_binary

SUBJECTS = Subjects("vigil.hq")
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(what: str, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if value := condition():
            return value
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


class NatsServer:
    """nats-server with JetStream, killed and started again on its port and files."""

    def __init__(self, folder: Path, mqtt: str | None = None) -> None:
        """`mqtt`: what stands in the broker's part of the configuration, beside its port; None: no broker."""
        self.port, self.mqtt_port = free_port(), free_port()
        self._config = folder / "nats.conf"
        broker = "" if mqtt is None else f'mqtt {{ host: "127.0.0.1", port: {self.mqtt_port}\n{mqtt}\n}}'
        self._config.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\nserver_name: test\n'
            f'jetstream {{ store_dir: "{folder}/js" }}\n{broker}\n'
        )
        self._log = folder / "nats.log"
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [find_binary(), "-c", str(self._config)], stdout=output, stderr=output, start_new_session=True
            )
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5) as probe:
                if b"INFO" in probe.recv(4):
                    return
            assert self._process.poll() is None, self._log.read_text()
        raise AssertionError("nats-server did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)


def event(number: int, stream: str = "gate", kind: str = "track.started", **more: Any) -> dict[str, Any]:
    told = {"event_id": f"hq-{stream}-1-{number}-{kind}", "type": kind, "site": "hq", "stream": stream, "session": 1,
            "track_id": number, "class_name": "person", "confidence": 0.9}  # fmt: skip
    return told | more


@dataclass
class Jet:
    """A connection to NATS with the streams that Vigil makes."""

    client: Client
    url: str

    async def publish(self, *events: dict[str, Any]) -> None:
        jetstream = self.client.jetstream()
        for told in events:
            headers = {"Nats-Msg-Id": told["event_id"], "ce-id": told["event_id"], "ce-type": f"vigil.{told['type']}",
                       "ce-specversion": "1.0", "ce-source": f"/vigil/hq/{told['stream']}",
                       "content-type": "application/json"}  # fmt: skip
            await jetstream.publish(
                SUBJECTS.event(told["stream"], told["type"]), json.dumps(told).encode(), headers=headers
            )

    async def all_acknowledged(self, consumer: str) -> None:
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            info = await self.client.jetstream().consumer_info(EVENTS_STREAM, consumer)
            if not info.num_pending and not info.num_ack_pending:
                return
        raise AssertionError("events are yet to be acknowledged")

    async def status(self, stream: str, state: str) -> None:
        told = {"site": "hq", "stream": stream, "state": state}
        await self.client.jetstream().publish(SUBJECTS.status(stream), json.dumps(told).encode())


async def connect(url: str) -> Client:
    async def ignore(error: Exception) -> None:
        del error

    return await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=ignore)


@asynccontextmanager
async def jet(server: NatsServer) -> AsyncIterator[Jet]:
    client = await connect(server.url)
    jetstream = client.jetstream()
    for stream in (
        StreamConfig(name=EVENTS_STREAM, subjects=["vigil.*.events.>"], duplicate_window=60),
        StreamConfig(name=STATUS_STREAM, subjects=["vigil.*.status.*"], max_msgs_per_subject=1),
    ):
        with suppress(nats.js.errors.BadRequestError):
            await jetstream.add_stream(stream)
    yield Jet(client, server.url)
    await client.close()


@dataclass
class Bridged:
    """A bridge at work."""

    runner: Runner
    registry: CollectorRegistry
    standings: list[Standing]
    task: asyncio.Task[None]
    client: Client

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"bridge": "door", **labels}) or 0.0

    def failed(self, reason: str) -> float:
        return self.value("vigil_bridge_failed_total", reason=reason)

    async def end(self) -> None:
        """As a process ends that is killed: nothing is given back."""
        with suppress(OSError):
            await self.client.close()
        await self.runner.end(self.task)


@asynccontextmanager
async def bridged(
    jet: Jet, config: WebhookConfig | MqttConfig, scenes: dict[str, Scene] | None = None, since: datetime = SINCE
) -> AsyncIterator[Bridged]:
    client = await connect(jet.url)
    surroundings = Surroundings("hq", "door", "1.0", client, SUBJECTS, lambda: scenes or {})
    bridge = new_bridge(config, surroundings)
    registry, standings = CollectorRegistry(), list[Standing]()
    consumer = EventsConsumer(client, "hq-door", bridge.subjects, since)
    runner = Runner("door", config, bridge, consumer, BridgeMetrics(registry), standings.append)
    done = Bridged(runner, registry, standings, asyncio.create_task(runner.run()), client)
    try:
        yield done
    finally:
        await done.end()


Answer = Callable[[dict[str, Any]], Awaitable[web.Response]]


@dataclass
class Peer:
    """An HTTP server that answers as `answer` says, and 204 without it."""

    port: int = field(default_factory=free_port)
    answer: Answer | None = None
    got: list[dict[str, Any]] = field(default_factory=list)  # events that were answered with success
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)  # all, as they came
    _runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/s3cr3t"

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.router.add_post("/hook/s3cr3t", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=tls).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        told = json.loads(body)
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, body))
        answer = await self.answer(told) if self.answer else web.Response(status=204)
        if 200 <= answer.status < 300:
            self.got.append(told)
        return answer

    def tracks(self, stream: str = "gate") -> list[int]:
        return [told["track_id"] for told in self.got if told["stream"] == stream]


@asynccontextmanager
async def peer(answer: Answer | None = None) -> AsyncIterator[Peer]:
    server = Peer(answer=answer)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Heard:
    """What a subscriber heard: the last payload of each topic, and the events in order."""

    def __init__(self) -> None:
        self.topics: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []

    def __getitem__(self, topic: str) -> str | None:
        return self.topics.get(topic)

    def tracks(self) -> list[int]:
        return list(dict.fromkeys(told["track_id"] for told in self.events))


@asynccontextmanager
async def listener(broker: NatsServer, **login: Any) -> AsyncIterator[Heard]:
    """Subscribes to everything, and again when the broker was away."""
    heard = Heard()

    async def listen() -> None:
        while True:
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client("127.0.0.1", broker.mqtt_port, **login) as client:
                    await client.subscribe("#", qos=1)
                    async for message in client.messages:
                        topic, payload = str(message.topic), bytes(message.payload).decode()
                        if "/events/" in topic:
                            heard.events.append(json.loads(payload))
                        else:
                            heard.topics[topic] = payload
            await asyncio.sleep(0.05)

    task = asyncio.create_task(listen())
    yield heard
    task.cancel()
    await asyncio.wait([task])
