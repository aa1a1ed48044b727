"""Control over a real NATS server: asked as anybody would, found as `nats micro` finds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from publish import control
from publish.subjects import Subjects
from tests.publish.servers import Server, serving
from tests.publish.test_http import SmallView


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("nats"), jetstream=False) as server:
        yield server


def play(server: Server, script: Callable[[Client, SmallView], Awaitable[None]]) -> None:
    async def main() -> None:
        client, view = await nats.connect(server.url), SmallView()
        service = await control.serve(client, Subjects("vigil.hq"), view.cameras, view, view, "1.2.3")
        await script(client, view)
        await service.stop()
        await client.close()

    asyncio.run(main())


async def ask(client: Client, endpoint: str, body: Any = None) -> tuple[str | None, Any]:
    """The error code, if any, and the answer."""
    data = b"" if body is None else json.dumps(body).encode()
    answer = await client.request(f"vigil.hq.control.{endpoint}", data, timeout=5)
    return (answer.headers or {}).get("Nats-Service-Error-Code"), json.loads(answer.data)


def test_a_stream_is_paused_and_taken_up_again(server: Server) -> None:
    async def script(client: Client, view: SmallView) -> None:
        code, told = await ask(client, "streams.pause", {"id": "gate"})
        assert (code, told["settings"]["paused"]) == (None, True)
        code, told = await ask(client, "streams.resume", {"id": "gate", "keep": False})
        assert (code, told["settings"]["paused"]) == (None, False)
        assert view.cameras.kept == [True, False]

    play(server, script)


@pytest.mark.parametrize(
    ("endpoint", "body", "code"),
    [
        ("streams.pause", {"id": "nobody"}, "streams.unknown"),
        ("streams.pause", {"id": "gate", "kept": True}, "control.invalid"),
        ("streams.resume", None, "control.invalid"),
    ],
)
def test_a_refusal_has_its_code_in_the_body(server: Server, endpoint: str, body: Any, code: str) -> None:
    async def script(client: Client, view: SmallView) -> None:
        del view
        error, told = await ask(client, endpoint, body)
        assert (error, told["code"]) == ("400", code)

    play(server, script)


def test_health_is_what_http_says(server: Server) -> None:
    async def script(client: Client, view: SmallView) -> None:
        view.parts = {"detector": False, "nats": True}
        nats_state = {"state": "troubled", "troubles": ["nats.permission"]}
        told = {"status": "not ready", "detector": False, "nats": True, "nats_state": nats_state}
        assert await ask(client, "health") == (None, told)

    play(server, script)


def test_it_is_found_with_what_it_does_and_how_often_it_did(server: Server) -> None:
    async def script(client: Client, view: SmallView) -> None:
        del view
        await ask(client, "health")
        await ask(client, "streams.pause", {"id": "nobody"})
        info = json.loads((await client.request("$SRV.INFO.vigil", b"", timeout=5)).data)
        endpoints = {one["name"]: one for one in info["endpoints"]}
        names = ["list", "show", "add", "change", "remove", "pause", "resume"]
        assert set(endpoints) == {f"streams-{name}" for name in names} | {"health", "snapshot"}
        assert info["version"] == "1.2.3"
        assert info["metadata"] == {"prefix": "vigil.hq", "schema": control.SCHEMA_VERSION}
        pause = endpoints["streams-pause"]
        assert pause["subject"] == "vigil.hq.control.streams.pause"
        assert "keep" in json.loads(pause["metadata"]["request_schema"])["properties"]
        assert pause["metadata"]["description"]
        stats = json.loads((await client.request("$SRV.STATS.vigil", b"", timeout=5)).data)
        counts = {one["name"]: one["num_requests"] for one in stats["endpoints"]}
        assert (counts["health"], counts["streams-pause"], counts["streams-add"]) == (1, 1, 0)

    play(server, script)
