"""Pages of past events, out of a real JetStream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta

import nats
import pytest

from publish.past import Page, Past, Wanted
from publish.subjects import EVENTS_STREAM
from publish.trouble import NatsError
from tests.publish.servers import Server, serving

ALL = ["vigil.test.events.*.>"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("nats")) as server:
        yield server


def played(server: Server, play: Callable[[Past, list[tuple[str, str]]], Awaitable[None]], events: int) -> None:
    """Plays with a stream of so many events: of `gate`, and every hundredth of `yard`; of two types in turn."""

    async def run() -> None:
        client = await nats.connect(server.url)
        jetstream = client.jetstream()
        try:
            await jetstream.add_stream(name=EVENTS_STREAM, subjects=ALL, storage="memory")
            stored = []
            for n in range(events):
                stream, kind = "yard" if n % 100 == 0 else "gate", ("track.started", "zone.entered")[n % 2]
                await client.publish(f"vigil.test.events.{stream}.{kind}", json.dumps({"n": n}).encode())
                stored.append((stream, kind))
            await client.flush()
            while (await jetstream.stream_info(EVENTS_STREAM)).state.messages < events:
                await asyncio.sleep(0.01)
            await play(Past(client), stored)
        finally:
            await jetstream.delete_stream(EVENTS_STREAM)
            await client.close()

    asyncio.run(run())


def numbers(page: Page) -> list[int]:
    return [event["n"] for event in page.events]


async def all_pages(past: Past, subjects: list[str], limit: int) -> list[int]:
    found, below = [], None
    while True:
        page = await past.page(Wanted(subjects, None, None, below, limit))
        found += numbers(page)
        if page.below is None:
            return found
        assert len(page.events) == limit, "a page is full when another follows"
        below = page.below


def test_pages_follow_each_other_newest_first_and_miss_nothing(server: Server) -> None:
    async def play(past: Past, stored: list[tuple[str, str]]) -> None:
        everything = list(range(len(stored)))[::-1]
        assert await all_pages(past, ALL, 100) == everything
        rare = [n for n in everything if stored[n][0] == "yard"]
        assert await all_pages(past, ["vigil.test.events.yard.>"], 3) == rare
        two = ["vigil.test.events.yard.zone.>", "vigil.test.events.gate.zone.entered"]
        assert await all_pages(past, two, 64) == [n for n in everything if stored[n][1] == "zone.entered"]

    played(server, play, 700)


def test_what_comes_while_pages_are_turned_does_not_move_them(server: Server) -> None:
    async def play(past: Past, stored: list[tuple[str, str]]) -> None:
        first = await past.page(Wanted(ALL, None, None, None, 5))
        await past._client.jetstream().publish("vigil.test.events.gate.track.ended", b'{"n": 999}')
        second = await past.page(Wanted(ALL, None, None, first.below, 5))
        assert numbers(first) + numbers(second) == list(range(len(stored)))[::-1][:10]

    played(server, play, 20)


def test_times_bound_what_is_found(server: Server) -> None:
    async def play(past: Past, stored: list[tuple[str, str]]) -> None:
        between = datetime.now(UTC)
        await past._client.jetstream().publish("vigil.test.events.gate.track.ended", b'{"n": 999}')
        assert numbers(await past.page(Wanted(ALL, between, None, None, 10))) == [999]
        assert numbers(await past.page(Wanted(ALL, None, between, None, 3))) == [9, 8, 7]
        later = between + timedelta(hours=1)
        assert numbers(await past.page(Wanted(ALL, later, None, None, 3))) == []
        assert numbers(await past.page(Wanted(ALL, between, between, None, 3))) == []

    played(server, play, 10)


def test_nothing_there_is_an_empty_page(server: Server) -> None:
    async def play(past: Past, stored: list[tuple[str, str]]) -> None:
        assert await past.page(Wanted(ALL, None, None, None, 10)) == Page([], None)

    played(server, play, 0)


def test_no_consumer_is_left_behind(server: Server) -> None:
    async def play(past: Past, stored: list[tuple[str, str]]) -> None:
        await all_pages(past, ALL, 7)
        assert (await past._client.jetstream().stream_info(EVENTS_STREAM)).state.consumer_count == 0

    played(server, play, 30)


def test_without_a_stream_it_says_so(server: Server) -> None:
    async def run() -> None:
        client = await nats.connect(server.url)
        with pytest.raises(NatsError, match="no JetStream stream") as refusal:
            await Past(client).page(Wanted(ALL, None, None, None, 1))
        assert refusal.value.code == "nats.no_answer"
        await client.close()

    asyncio.run(run())
