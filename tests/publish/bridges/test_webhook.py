"""Events reach HTTP peers that fail, hang, go away and come back: all of them, in order per stream."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from publish.bridges import runner
from publish.bridges.config import WebhookConfig
from publish.bridges.runner import BridgeState
from tests.ingest.certificate import self_signed
from tests.publish.bridges.real import SUBJECTS, NatsServer, Peer, bridged, event, eventually, free_port, jet, peer

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    started = NatsServer(tmp_path)
    yield started
    started.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts are what `test_backoff.py` tests."""
    monkeypatch.setattr(runner, "delay_s", lambda failures, rng: 0.02)


def config(port_or_peer: int | Peer, **more: Any) -> WebhookConfig:
    url = port_or_peer.url if isinstance(port_or_peer, Peer) else f"http://127.0.0.1:{port_or_peer}/hook/s3cr3t"
    return WebhookConfig(kind="webhook", url=url, **more)  # type: ignore[arg-type]


def test_an_event_is_posted_as_it_was_published_signed_and_with_cloudevents_headers(server: NatsServer) -> None:
    async def play() -> None:
        async with jet(server) as nats, peer() as http:
            settings = config(http, secret=SECRET, headers={"Authorization": "Bearer t0ken"})
            async with bridged(nats, settings):
                await nats.publish(event(7))
                await eventually("the event", lambda: http.got)
            headers, body = http.requests[0]
            event_id = "hq-gate-1-7-track.started"
            assert http.got == [event(7)]
            assert headers["webhook-id"] == headers["idempotency-key"] == headers["ce-id"] == event_id
            assert headers["ce-type"] == "vigil.track.started"
            assert headers["content-type"] == "application/json"
            assert headers["authorization"] == "Bearer t0ken"
            signed = f"{event_id}.{headers['webhook-timestamp']}.".encode() + body
            code = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
            assert headers["webhook-signature"] == f"v1,{code}"
            assert "nats-msg-id" not in headers

    asyncio.run(play())


def test_a_peer_that_fails_gets_every_event_in_order(server: NatsServer) -> None:
    dice = random.Random(1)

    async def moody(told: dict[str, Any]) -> web.Response:
        status = dice.choice([204, 204, 500, 503, 429, 408, 425])
        return web.Response(status=status)

    async def play() -> None:
        async with jet(server) as nats, peer(moody) as http, bridged(nats, config(http)) as bridge:
            await nats.publish(*(event(number, stream) for number in range(12) for stream in ("gate", "yard")))
            await eventually("all events", lambda: len(http.got) >= 24)
            for stream in ("gate", "yard"):
                assert http.tracks(stream) == list(range(12))
            assert bridge.value("vigil_bridge_delivered_total") == 24
            assert bridge.failed("webhook.busy") > 0
            assert bridge.failed("webhook.server_error") > 0
            await nats.all_acknowledged("hq-door")
            await eventually("nothing is left", lambda: bridge.value("vigil_bridge_pending") == 0)

    asyncio.run(play())


def test_a_peer_that_is_away_is_waited_for_and_the_state_says_so(server: NatsServer) -> None:
    async def play() -> None:
        http = Peer()
        async with jet(server) as nats, bridged(nats, config(http)) as bridge:
            await nats.publish(*(event(number) for number in range(5)))
            await eventually("it is missed", lambda: bridge.standings[-1:] and bridge.standings[-1].code)
            assert bridge.standings[-1].state is BridgeState.RETRYING
            assert bridge.standings[-1].code == "webhook.unreachable"
            await http.start()
            await eventually("all events", lambda: len(http.got) == 5)
            assert http.tracks() == list(range(5))
            assert bridge.standings[-1].state is BridgeState.DELIVERING
            await http.stop()

    asyncio.run(play())


def test_a_peer_whose_certificate_nobody_vouches_for_gets_nothing(server: NatsServer, tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(self_signed(tmp_path))

    async def play() -> None:
        http = Peer()
        await http.start(context)
        url = http.url.replace("http://", "https://")
        async with jet(server) as nats, bridged(nats, WebhookConfig(kind="webhook", url=url)) as bridge:  # type: ignore[arg-type]
            await nats.publish(event(1))
            await eventually("it is named", lambda: bridge.failed("webhook.tls"))
            assert "self-signed certificate" in str(bridge.standings[-1].detail)
        await http.stop()
        assert http.requests == []

    asyncio.run(play())


def test_a_peer_that_hangs_is_given_up_on_in_time(server: NatsServer) -> None:
    hanging, over = asyncio.Event(), asyncio.Event()

    async def hang_once(told: dict[str, Any]) -> web.Response:
        if not hanging.is_set():
            hanging.set()
            await over.wait()
            return web.Response(status=500)
        return web.Response()

    async def play() -> None:
        async with jet(server) as nats, peer(hang_once) as http, bridged(nats, config(http, timeout=0.3)) as bridge:
            await nats.publish(event(1))
            await eventually("the event", lambda: http.got, 5)
            assert bridge.failed("webhook.timeout") == 1
            over.set()

    asyncio.run(play())


def test_one_stream_does_not_wait_for_another(server: NatsServer) -> None:
    release = asyncio.Event()

    async def slow_for_gate(told: dict[str, Any]) -> web.Response:
        if told["stream"] == "gate":
            await release.wait()
        return web.Response()

    async def play() -> None:
        async with jet(server) as nats, peer(slow_for_gate) as http, bridged(nats, config(http)):
            await nats.publish(event(1, "gate"), event(2, "gate"), event(1, "yard"))
            await eventually("the other stream's", lambda: http.tracks("yard") == [1])
            assert sum(b'"gate"' in body for _, body in http.requests) == 1
            release.set()
            await eventually("the slow one's", lambda: http.tracks("gate") == [1, 2])

    asyncio.run(play())


def test_what_a_peer_refuses_for_good_is_skipped_after_so_many_tries_and_named_once(server: NatsServer) -> None:
    async def choosy(told: dict[str, Any]) -> web.Response:
        return web.Response(status=422 if told["track_id"] == 1 else 200)

    async def play() -> None:
        async with jet(server) as nats, peer(choosy) as http, bridged(nats, config(http, tries=3)) as bridge:
            with capture_logs() as logs:
                await nats.publish(event(0), event(1), event(2))
                await eventually("the one after it", lambda: http.tracks() == [0, 2])
            assert bridge.failed("webhook.refused") == 3
            assert bridge.value("vigil_bridge_skipped_total", reason="webhook.refused") == 1
            skipped = [line for line in logs if line["event"].startswith("event not delivered")]
            assert [(line["code"], line["event_id"]) for line in skipped] == [
                ("webhook.refused", "hq-gate-1-1-track.started")
            ]
            assert "s3cr3t" not in str(logs)

    asyncio.run(play())


def test_without_a_limit_nothing_is_skipped(server: NatsServer) -> None:
    refusals = 0

    async def refuses_for_long(told: dict[str, Any]) -> web.Response:
        nonlocal refusals
        refusals += 1
        return web.Response(status=403 if refusals < 20 else 200)

    async def play() -> None:
        async with jet(server) as nats, peer(refuses_for_long) as http, bridged(nats, config(http, tries=None)):
            await nats.publish(event(1), event(2))
            await eventually("both", lambda: http.tracks() == [1, 2])

    asyncio.run(play())


def test_an_event_that_cannot_be_delivered_in_time_is_skipped(server: NatsServer) -> None:
    async def fails(told: dict[str, Any]) -> web.Response:
        return web.Response(status=500 if told["track_id"] == 1 else 200)

    async def play() -> None:
        async with jet(server) as nats, peer(fails) as http, bridged(nats, config(http, retry_for=0.1)) as bridge:
            await nats.publish(event(1), event(2))
            await eventually("the one after it", lambda: http.tracks() == [2])
            assert bridge.value("vigil_bridge_skipped_total", reason="webhook.server_error") == 1

    asyncio.run(play())


def test_redirects_are_not_followed(server: NatsServer) -> None:
    async def play() -> None:
        async with jet(server) as nats, peer() as other:

            async def moved(told: dict[str, Any]) -> web.Response:
                return web.Response(status=307, headers={"Location": other.url})

            async with peer(moved) as http, bridged(nats, config(http, tries=1)) as bridge:
                await nats.publish(event(1))
                await eventually("it is given up", lambda: bridge.failed("webhook.redirect"))
            assert other.requests == []

    asyncio.run(play())


def test_a_peer_is_not_asked_before_it_said_so(server: NatsServer) -> None:
    times: list[float] = []

    async def later(told: dict[str, Any]) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        return web.Response(status=429, headers={"Retry-After": "1"}) if len(times) == 1 else web.Response()

    async def play() -> None:
        async with jet(server) as nats, peer(later) as http, bridged(nats, config(http)):
            await nats.publish(event(1))
            await eventually("the event", lambda: http.got)
            assert times[1] - times[0] >= 1.0

    asyncio.run(play())


def test_only_what_is_wanted_is_sent(server: NatsServer) -> None:
    settings = {"streams": ["gate"], "types": ["zone.entered"], "zones": ["drive"], "classes": ["person"],
                "min_confidence": 0.5}  # fmt: skip

    async def play() -> None:
        async with jet(server) as nats, peer() as http, bridged(nats, config(http, **settings)) as bridge:
            wanted = {"kind": "zone.entered", "zone": "drive"}
            await nats.publish(
                event(1, **wanted, confidence=0.5), event(2, **wanted, confidence=0.49), event(3, "yard", **wanted),
                event(4, kind="zone.left", zone="drive"), event(5, kind="zone.entered", zone="door"),
                event(6, **wanted, class_name="car"), event(7, **wanted),
            )  # fmt: skip
            await eventually("those that are wanted", lambda: http.tracks() == [1, 7])
            await eventually("nothing is left", lambda: bridge.value("vigil_bridge_pending") == 0)
            assert bridge.value("vigil_bridge_delivered_total") == 2

    asyncio.run(play())


def test_what_is_no_event_stops_nobody(server: NatsServer) -> None:
    async def play() -> None:
        async with jet(server) as nats, peer() as http, bridged(nats, config(http)) as bridge:
            await nats.client.jetstream().publish(SUBJECTS.event("gate", "track.started"), b"\xff{")
            await nats.publish(event(1))
            await eventually("the event", lambda: http.tracks() == [1])
            assert bridge.value("vigil_bridge_skipped_total", reason="bridge.unreadable") == 1

    asyncio.run(play())


def test_nats_can_be_killed_while_events_are_delivered(server: NatsServer) -> None:
    async def slow(told: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.01)
        return web.Response()

    async def play() -> None:
        async with jet(server) as nats, peer(slow) as http, bridged(nats, config(http)) as bridge:
            await nats.publish(*(event(number, stream) for number in range(60) for stream in ("gate", "yard")))
            await eventually("the first", lambda: len(http.got) > 20)
            server.kill()
            await eventually("it is missed", lambda: bridge.standings[-1].state is BridgeState.WAITING)
            server.start()
            await eventually("all events", lambda: {*http.tracks("gate")} == {*http.tracks("yard")} == {*range(60)})
            for stream in ("gate", "yard"):
                assert firsts(http.tracks(stream)) == list(range(60))

    asyncio.run(play())


def test_a_bridge_that_dies_goes_on_where_it_was(server: NatsServer) -> None:
    async def slow(told: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.005)
        return web.Response()

    async def play() -> None:
        async with jet(server) as nats, peer(slow) as http:
            await nats.publish(*(event(number) for number in range(100)))
            for more in (10, 20):
                async with bridged(nats, config(http)):
                    await eventually("some", lambda more=more: len(http.got) > more)
            async with bridged(nats, config(http)):
                await eventually("all events", lambda: {*http.tracks()} == {*range(100)})
            assert firsts(http.tracks()) == list(range(100))
            assert len(http.got) <= 104  # twice came what was underway, and what it could not acknowledge any more

    asyncio.run(play())


def test_a_bridge_that_is_stopped_gives_back_what_it_holds(server: NatsServer) -> None:
    async def play() -> None:
        gone = free_port()
        async with jet(server) as nats, peer() as http:
            await nats.publish(*(event(number) for number in range(10)))
            async with bridged(nats, config(gone)) as bridge:
                await eventually("all are held", lambda: bridge.runner.holds == 10)
                await bridge.runner.end(bridge.task)
            async with bridged(nats, config(http)):
                await eventually("all events", lambda: http.tracks() == list(range(10)), 3)

    asyncio.run(play())


def test_a_new_bridge_begins_with_what_happens_from_now_on_and_an_old_one_may_change_its_mind(
    server: NatsServer,
) -> None:
    async def play() -> None:
        async with jet(server) as nats, peer() as http:
            await nats.publish(event(1))
            now = datetime.now(UTC)
            async with bridged(nats, config(http, types=["track.started"]), since=now):
                await nats.publish(event(2), event(2, kind="track.ended"))
                await eventually("the new one", lambda: http.tracks() == [2])
            async with bridged(nats, config(http, types=["track.ended"]), since=datetime.now(UTC)):
                await nats.publish(event(3), event(3, kind="track.ended"))
                await eventually("those of the other type", lambda: http.tracks()[-1] == 3)
            assert {told["type"] for told in http.got if told["track_id"] == 3} == {"track.ended"}

    asyncio.run(play())


def firsts(numbers: list[int]) -> list[int]:
    """In the order in which each came first."""
    return list(dict.fromkeys(numbers))
