"""Events reach a webhook from the real service, whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nats
import pytest

from publish.subjects import EVENTS_STREAM
from tests.e2e.real import Running, wait_for

SECRET = "whsec_" + "c2VjcmV0" * 4


class Peer(ThreadingHTTPServer):
    """Takes its time for each event, and fails for every fifth request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, Any]] = []
        self.requests = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook/s3cr3t"


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["content-length"])))
        time.sleep(0.02)
        self.server.requests += 1
        fails = self.server.requests % 5 == 0
        if not fails:
            self.server.got.append(told)
        self.send_response(500 if fails else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer()
    yield server
    server.shutdown()
    server.server_close()


async def stored(url: str) -> list[dict[str, Any]]:
    """All events that are in JetStream now, in order."""
    client = await nats.connect(url)
    jetstream = client.jetstream()
    count = (await jetstream.stream_info(EVENTS_STREAM)).state.messages
    subscription = await jetstream.subscribe("vigil.test.events.>", ordered_consumer=True)
    found = [json.loads((await subscription.next_msg(5)).data) for _ in range(count)]
    await client.close()
    return found


def test_every_event_reaches_a_webhook_though_service_and_bridges_are_killed(
    run_service: Callable[..., Running], street: Path, peer: Peer
) -> None:
    config = {
        "streams": {name: {"url": str(street), "loop": True, "zones": {
            "half": {"polygon": [[0.34, 0], [1, 0], [1, 1], [0.34, 1]], "dwell": 0.5, "hold": 0.1, "speed_over": 0.001}
        }} for name in ("gate", "yard")},
        "bridges": {"door": {"kind": "webhook", "url": peer.url, "secret": SECRET}},
    }  # fmt: skip
    service = run_service(config)
    wait_for("some events at the peer", lambda: len(peer.got) > 5)
    service.kill_all()
    before = len(peer.got)

    service = run_service(config)
    wait_for("more events at the peer", lambda: len(peer.got) > before + 5)
    (bridges,) = service.children()["bridges"]
    bridges.kill()
    events = asyncio.run(stored(service.addresses["nats"]))
    wanted = {event["event_id"] for event in events}
    wait_for("every event at the peer", lambda: wanted <= {event["event_id"] for event in peer.got})
    for stream in ("gate", "yard"):
        arrived = dict.fromkeys(event["event_id"] for event in peer.got if event["stream"] == stream)
        order = [event["event_id"] for event in events if event["stream"] == stream]
        assert [one for one in arrived if one in wanted] == order

    (told,) = wait_for("the bridge's state", lambda: [
        one for one in json.loads(service.get("/api/v1/bridges")) if one["delivered"] and one["state"] == "delivering"
    ])  # fmt: skip
    assert (told["name"], told["kind"]) == ("door", "webhook")
    assert told["peer"] == peer.url.removesuffix("/hook/s3cr3t")
    assert told["delivered"] > 0
    assert service.ready()["bridges"].keys() == {"door"}
    failed = 'vigil_bridge_failed_total{bridge="door",reason="webhook.server_error"}'
    wait_for("its failures are counted", lambda: failed in service.get("/metrics"))
    assert service.stop() == 0
    assert "s3cr3t" not in service.log.read_text()
    assert SECRET not in service.log.read_text()
