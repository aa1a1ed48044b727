"""JetStream's streams on a real server: made where missing, told of where they differ, never overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
import structlog
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType

from publish import jetstream as module
from publish.config import NatsConfig
from publish.jetstream import Streams, ensure, look, of_difference, wanted_streams
from publish.trouble import Code, NatsError, Troubles
from tests.publish.servers import Server, serving

EVENTS = "VIGIL_EVENTS"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("nats")) as server:
        yield server


def play(server: Server, script: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    """Follows the script on a server that has no streams."""

    async def main() -> None:
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        for one in await jetstream.streams_info():
            await jetstream.delete_stream(str(one.config.name))
        await script(jetstream)
        await client.close()

    asyncio.run(main())


def events_of(config: NatsConfig | None = None, site: str = "hq", prefix: str | None = None) -> Any:
    return wanted_streams(config or NatsConfig(), prefix or f"vigil.{site}", site)[0]


def test_missing_streams_are_made_as_configured_and_then_are_as_configured(server: Server) -> None:
    config = NatsConfig(events_max_age=3600, events_max_bytes=1 << 21, storage="memory")

    async def script(jetstream: JetStreamContext) -> None:
        for wanted in wanted_streams(config, "vigil.hq", "hq"):
            assert await look(jetstream, wanted) is None
            assert await ensure(jetstream, wanted) == []
            assert await ensure(jetstream, wanted) == []
            assert await look(jetstream, wanted) == []
        made = (await jetstream.stream_info(EVENTS)).config
        assert (made.max_age, made.max_bytes, made.storage) == (3600, 1 << 21, "memory")
        assert made.subjects == ["vigil.*.events.>"]

    play(server, script)


def test_a_stream_of_the_users_own_gets_our_subjects_and_nothing_else(server: Server) -> None:
    async def script(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(
            name=EVENTS, subjects=["mine.>"], max_age=60, storage=StorageType.MEMORY, max_msgs=100, max_msg_size=1000,
            retention=RetentionPolicy.WORK_QUEUE, no_ack=True, discard="new", duplicate_window=30,
        )  # fmt: skip
        found = await ensure(jetstream, events_of())
        assert {one.setting.name: (one.theirs, one.ours) for one in found} == {
            "retention": ("workqueue", "limits"),
            "storage": ("memory", "file"),
            "max_age": ("60", "604800"),
            "max_bytes": (None, str(1 << 30)),
            "max_msgs": ("100", None),
            "max_msg_size": ("1000", None),
            "discard": ("new", "old"),
            "duplicate_window": ("30", "600"),
            "no_ack": ("True", None),
        }
        after = (await jetstream.stream_info(EVENTS)).config
        assert (after.subjects, after.max_age, after.max_msgs) == (["mine.>", "vigil.*.events.>"], 60, 100)
        (age,) = [one for one in found if one.setting.name == "max_age"]
        told = of_difference(EVENTS, age)
        assert told.message == "JetStream stream VIGIL_EVENTS is left as it is: max_age is 60, and 604800 is configured"
        assert told.mend == (
            "`nats stream edit VIGIL_EVENTS --max-age=604800s` or `nats.events_max_age: 60` in the config"
        )

    play(server, script)


def test_sites_share_the_streams_and_a_prefix_of_ones_own_is_added(server: Server) -> None:
    async def script(jetstream: JetStreamContext) -> None:
        for wanted in (events_of(), events_of(site="yard"), events_of(prefix="acme.north")):
            assert await ensure(jetstream, wanted) == []
        subjects = (await jetstream.stream_info(EVENTS)).config.subjects
        assert subjects == ["vigil.*.events.>", "acme.north.events.>"]

    play(server, script)


def test_another_stream_with_our_subjects_is_named(server: Server) -> None:
    async def script(jetstream: JetStreamContext) -> None:
        await jetstream.add_stream(name="ARCHIVE", subjects=["vigil.hq.events.>"])
        for attempt in (ensure, look):
            with pytest.raises(NatsError, match="another stream, ARCHIVE, already takes") as error:
                await attempt(jetstream, events_of())
            assert error.value.code == "nats.subjects_taken"

    play(server, script)


def test_what_the_server_refuses_to_make_is_told_in_its_words(server: Server) -> None:
    async def script(jetstream: JetStreamContext) -> None:
        with pytest.raises(NatsError, match="replicas > 1 not supported") as error:
            await ensure(jetstream, events_of(NatsConfig(replicas=3)))
        assert error.value.code == "nats.stream_refused"

    play(server, script)


def test_a_server_without_jetstream_is_told_as_that(tmp_path: Path) -> None:
    with serving(tmp_path, jetstream=False) as plain:

        async def main() -> None:
            client = await nats.connect(plain.url)
            for attempt in (ensure, look):
                with pytest.raises(NatsError) as error:
                    await attempt(client.jetstream(), events_of())
                assert error.value.code == "nats.no_jetstream"
            await client.close()

        asyncio.run(main())


def test_an_account_without_jetstream_too(tmp_path: Path) -> None:
    accounts = "accounts { A { users = [{user: a, password: b}] }, SYS {} }\nsystem_account: SYS"
    with serving(tmp_path, accounts) as server:

        async def main() -> None:
            client = await nats.connect(server.url, user="a", password="b")
            with pytest.raises(NatsError) as error:
                await ensure(client.jetstream(), events_of())
            assert error.value.code == "nats.no_jetstream"
            await client.close()

        asyncio.run(main())


def test_differences_are_told_once_and_are_over_once_they_are_mended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)

    async def script(jetstream: JetStreamContext) -> None:
        troubles = Troubles()
        await jetstream.add_stream(name="ARCHIVE", subjects=["vigil.hq.events.>"])
        streams = Streams(jetstream._nc, NatsConfig(), "vigil.hq", "hq", troubles)
        preparing = asyncio.create_task(streams.prepare())
        async with asyncio.timeout(10):
            while [one.code for one in troubles.now()] != [Code.SUBJECTS_TAKEN]:
                await asyncio.sleep(0.01)
            await jetstream.delete_stream("ARCHIVE")
            await jetstream.add_stream(name=EVENTS, subjects=["x"], max_age=60, max_bytes=1 << 20, duplicate_window=60)
            await preparing
            told = ["VIGIL_EVENTS duplicate_window", "VIGIL_EVENTS max_age", "VIGIL_EVENTS max_bytes"]
            assert sorted(one.about for one in troubles.now()) == told
            watching = asyncio.create_task(streams.watch())
            config = (await jetstream.stream_info(EVENTS)).config
            await jetstream.update_stream(config, max_age=604800)
            while len(troubles.now()) != 2:
                await asyncio.sleep(0.01)
            await jetstream.update_stream(config, max_age=604800, max_bytes=1 << 30, duplicate_window=600)
            while troubles.now():
                await asyncio.sleep(0.01)
            watching.cancel()

    with structlog.testing.capture_logs() as logs:
        play(server, script)
    levels = [(line["code"], line["log_level"]) for line in logs if "code" in line]
    assert levels.count(("nats.subjects_taken", "warning")) == levels.count(("nats.subjects_taken", "info")) == 1
    assert levels.count(("nats.stream_differs", "warning")) == levels.count(("nats.stream_differs", "info")) == 3
