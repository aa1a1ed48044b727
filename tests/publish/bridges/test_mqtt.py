"""MQTT topics tell who is where and what happens, whatever becomes of the broker, of NATS and of the bridge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from publish.bridges import mqtt, runner
from publish.bridges.config import MqttConfig
from publish.bridges.contract import Scene
from publish.bridges.runner import BridgeState
from tests.ingest.certificate import self_signed
from tests.publish.bridges.real import Bridged, Heard, Jet, NatsServer, bridged, event, eventually, jet, listener

SCENES = {"gate": Scene(("person",), {"drive": ("person",)})}
NO_HOME = {"enabled": False}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    started = NatsServer(tmp_path)
    yield started
    started.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    """A real MQTT broker: another nats-server."""
    folder = tmp_path / "broker"
    folder.mkdir()
    started = NatsServer(folder, mqtt="")
    yield started
    started.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (runner, mqtt):
        monkeypatch.setattr(module, "delay_s", lambda failures, rng: 0.05)
    monkeypatch.setattr(mqtt, "TICK_S", 0.05)


def config(broker: NatsServer, **more: Any) -> MqttConfig:
    return MqttConfig(kind="mqtt", url=f"mqtt://127.0.0.1:{broker.mqtt_port}", **({"timeout": 2.0} | more))


@asynccontextmanager
async def stage(server: NatsServer, broker: NatsServer, **more: Any) -> AsyncIterator[tuple[Jet, Heard, Bridged]]:
    async with (
        jet(server) as nats, listener(broker) as heard, bridged(nats, config(broker, **more), SCENES) as bridge
    ):  # fmt: skip
        yield nats, heard, bridge


async def stands(heard: Heard, **wanted: str) -> None:
    """That comes to stand on these topics below `vigil/hq`, `__` for each slash."""
    topics = {f"vigil/hq/{name.replace('__', '/')}": payload for name, payload in wanted.items()}
    await eventually(str(topics), lambda: all(heard[topic] == payload for topic, payload in topics.items()))


def entered(track: int, zone: str = "drive", **more: Any) -> dict[str, Any]:
    return event(track, kind="zone.entered", zone=zone, **more)


def left(track: int, zone: str = "drive", **more: Any) -> dict[str, Any]:
    return event(track, kind="zone.left", zone=zone, **more)


def test_counts_states_and_events_are_on_their_topics(server: NatsServer, broker: NatsServer) -> None:
    async def play() -> None:
        async with stage(server, broker) as (nats, heard, bridge):
            await stands(heard, available="online", gate__person="0", gate__drive__all="0")
            await nats.status("gate", "live")
            await stands(heard, gate__state="live")
            await nats.publish(event(1), entered(1), event(2, class_name="traffic light"))
            await stands(heard, gate__traffic_light="1", gate__person="1", gate__all="2")
            await stands(heard, gate__drive__person="1", gate__drive__all="1")
            await nats.publish(left(1), event(1, kind="track.ended"))
            await stands(heard, gate__person="0", gate__drive__person="0")
            await eventually("all events", lambda: len(heard.events) == 5)
            assert heard.events[1] == entered(1)
            await eventually("they are counted", lambda: bridge.value("vigil_bridge_delivered_total") == 5)

    asyncio.run(play())


def test_a_bridge_that_dies_knows_who_is_where_when_it_comes_back(server: NatsServer, broker: NatsServer) -> None:
    async def play() -> None:
        async with jet(server) as nats, listener(broker) as heard:
            async with bridged(nats, config(broker), SCENES):
                await nats.publish(event(1), entered(1), event(2), entered(2))
                await eventually("both", lambda: heard["vigil/hq/gate/drive/person"] == "2")
            await eventually("it is away", lambda: heard["vigil/hq/available"] == "offline")
            await nats.publish(left(1))
            async with bridged(nats, config(broker), SCENES):
                await stands(heard, gate__drive__person="1", gate__person="2", available="online")

    asyncio.run(play())


def test_no_event_is_lost_when_the_broker_is_killed_and_forgets_everything(
    server: NatsServer, broker: NatsServer, tmp_path: Path
) -> None:
    async def play() -> None:
        async with stage(server, broker) as (nats, heard, bridge):
            await nats.publish(*(event(number) for number in range(20)))
            await eventually("the first", lambda: len(heard.events) > 5)
            broker.kill()
            await nats.publish(*(event(number) for number in range(20, 40)))
            await eventually("it is missed", lambda: bridge.standings[-1].state is BridgeState.RETRYING)
            assert bridge.standings[-1].code in ("mqtt.lost", "mqtt.unreachable")
            (tmp_path / "broker/js").rename(tmp_path / "forgotten")
            heard.topics.clear()
            heard.events.clear()
            broker.start()
            await eventually("all events", lambda: {*range(21, 40)} <= {*heard.tracks()})
            assert heard.tracks() == sorted(heard.tracks())
            await stands(heard, gate__person="40", available="online")
            await eventually("nothing is left", lambda: bridge.value("vigil_bridge_pending") == 0)

    asyncio.run(play())


def test_a_broker_that_hangs_is_noticed_and_harms_no_event(server: NatsServer, broker: NatsServer) -> None:
    async def play() -> None:
        async with stage(server, broker, timeout=0.5) as (nats, heard, bridge):
            await eventually("it is there", lambda: heard["vigil/hq/available"] == "online")
            broker.pause()
            await nats.publish(event(1))
            await eventually("it is missed", lambda: bridge.failed("mqtt.lost"))
            broker.resume()
            await eventually("the event", lambda: heard.tracks() == [1])

    asyncio.run(play())


def test_home_assistant_finds_cameras_with_their_zones(server: NatsServer, broker: NatsServer) -> None:
    async def play() -> None:
        async with stage(server, broker) as (nats, heard, _):
            topic = "homeassistant/device/vigil_hq_gate/config"
            found = json.loads(await eventually("the camera", lambda: heard[topic]))
            assert found["device"] == {"identifiers": ["vigil_hq_gate"], "name": "gate", "manufacturer": "Vigil",
                                       "sw_version": "1.0"}  # fmt: skip
            occupied = found["components"]["drive__person_occupancy"]
            assert occupied["platform"] == "binary_sensor"
            assert occupied["state_topic"] == "vigil/hq/gate/drive/person"
            assert occupied["unique_id"] == "vigil_hq_gate_drive__person_occupancy"
            assert [one["topic"] for one in occupied["availability"]] == ["vigil/hq/available", "vigil/hq/gate/state"]
            assert found["components"]["person_count"]["state_topic"] == "vigil/hq/gate/person"
            ids = [component["unique_id"] for component in found["components"].values()]
            assert len(ids) == len(set(ids))
            await nats.publish(event(1, class_name="dog"))
            await eventually(
                "what was not foreseen", lambda: "dog_count" in json.loads(heard[topic] or "")["components"]
            )
            heard.topics.clear()
            async with aiomqtt.Client("127.0.0.1", broker.mqtt_port) as home:
                await home.publish("homeassistant/status", "online", qos=1)
            await eventually("it is told again", lambda: heard[topic])

    asyncio.run(play())


def test_what_is_no_more_is_cleared(server: NatsServer, broker: NatsServer) -> None:
    scenes = dict(SCENES)
    topic = "homeassistant/device/vigil_hq_gate/config"

    async def play() -> None:
        async with jet(server) as nats, listener(broker) as heard:
            async with bridged(nats, config(broker), scenes):
                await nats.publish(event(1))
                await eventually("the camera", lambda: heard["vigil/hq/gate/person"] == "1")
                scenes["gate"] = Scene(("person",))  # a zone is gone
                await eventually(
                    "its sensors go", lambda: "drive__person_count" not in (heard[topic] or "drive__person_count")
                )
            del scenes["gate"]  # while nobody is there
            async with bridged(nats, config(broker), scenes):
                await eventually("all is cleared", lambda: heard["vigil/hq/gate/person"] == heard[topic] == "")

    asyncio.run(play())


def test_only_what_is_wanted_is_told_but_who_is_where_stays_right(server: NatsServer, broker: NatsServer) -> None:
    wanted = {"types": ["zone.entered"], "classes": ["person"], "home_assistant": NO_HOME, "prefix": "frigate"}

    async def play() -> None:
        async with stage(server, broker, **wanted) as (nats, heard, _):
            await nats.publish(
                event(1), event(2, class_name="car"), entered(1), entered(2, class_name="car"),
                event(3, "yard"), left(1), event(2, kind="track.ended", class_name="person"),
            )  # fmt: skip
            await eventually(
                "one is left", lambda: len(heard.events) == 1 and heard["frigate/gate/drive/person"] == "0"
            )
            await eventually("who is there", lambda: heard["frigate/gate/person"] == heard["frigate/gate/all"] == "1")
            assert heard["frigate/gate/car"] is None
            told = [topic for topic, payload in heard.topics.items() if payload]  # an empty one clears
            assert not any(topic.startswith(("homeassistant", "frigate/yard")) for topic in told)

    asyncio.run(play())


def test_login_and_tls_are_used_and_a_refused_login_is_named(server: NatsServer, tmp_path: Path) -> None:
    certificate, folder = self_signed(tmp_path), tmp_path / "safe"
    folder.mkdir()
    safe = NatsServer(
        folder, f'tls {{ cert_file: "{certificate}", key_file: "{certificate}" }}\n'
        'authorization { username: "vigil", password: "s3cr3t" }',
    )  # fmt: skip

    def settings(password: str) -> MqttConfig:
        url, login = f"mqtts://127.0.0.1:{safe.mqtt_port}", {"username": "vigil", "password": password}
        return MqttConfig(kind="mqtt", url=url, ca=certificate, **login)  # type: ignore[arg-type]

    async def play() -> None:
        async with jet(server) as nats:
            await nats.publish(event(1))
            async with bridged(nats, settings("wrong"), SCENES) as bridge:
                await eventually("it is named", lambda: [one for one in bridge.standings if one.code == "mqtt.refused"])
            async with bridged(nats, settings("s3cr3t"), SCENES) as bridge:
                await eventually("it is delivered", lambda: bridge.value("vigil_bridge_delivered_total") == 1)
            assert "s3cr3t" not in str(bridge.standings)

    try:
        asyncio.run(play())
    finally:
        safe.kill()


def test_counts_are_called_old_when_nats_is_away_for_long(
    server: NatsServer, broker: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "BLIND_S", 0.3)

    async def play() -> None:
        async with stage(server, broker) as (_, heard, _):
            await eventually("it is there", lambda: heard["vigil/hq/available"] == "online")
            server.kill()
            await eventually("it is not believed", lambda: heard["vigil/hq/available"] == "offline")
            server.start()
            await eventually("it is", lambda: heard["vigil/hq/available"] == "online")

    asyncio.run(play())
