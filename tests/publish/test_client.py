"""The client against a real NATS server: what is kept arrives once and in order, whatever goes away meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
import ormsgpack
import pytest
from nats.aio.client import Client

from publish import client as module
from publish import history
from publish.client import Event, OtherEvent, frames, subscribe
from publish.config import NatsConfig
from publish.jetstream import ensure, wanted_streams
from publish.schema import TrackEvent
from publish.trouble import NatsError
from tests.publish.messages import event, frame, tell
from tests.publish.servers import Server, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("nats")) as server:
        yield server


async def emptied(url: str) -> Client:
    """A publisher's connection to a server that has our streams, with nothing in them."""
    client = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, error_cb=_ignore)
    for one in await client.jetstream().streams_info():
        await client.jetstream().purge_stream(str(one.config.name))  # its files are deleted only after the answer
        await client.jetstream().delete_stream(str(one.config.name))
    for wanted in wanted_streams(NatsConfig(), "vigil.hq", "hq"):
        await ensure(client.jetstream(), wanted)
    return client


async def _ignore(error: Exception) -> None:
    await asyncio.sleep(0)


def play(server: Server, script: Callable[[Client], Awaitable[None]], timeout_s: float = 20.0) -> None:
    async def main() -> None:
        async with asyncio.timeout(timeout_s):
            publisher = await emptied(server.url)
            await script(publisher)
            await publisher.close()

    asyncio.run(main())


async def take(events: AsyncGenerator[Event, None], count: int) -> list[int]:
    """The numbers of so many, taken one by one; the last of them is not done with."""
    found: list[int] = []
    async with aclosing(events):
        async for one in events:
            found.append(number(one))
            if len(found) == count:
                break
    return found


def number(one: Event) -> int:
    return int(one.event_id.split("-")[3])


async def all_of(events: AsyncGenerator[Event, None]) -> list[Event]:
    return [one async for one in events]


def test_the_past_is_told_in_order_and_then_it_ends(server: Server) -> None:
    async def script(publisher: Client) -> None:
        assert await all_of(subscribe(server.url, site="hq", follow=False)) == []
        await tell(publisher, *(event(n, "gate" if n % 2 else "yard") for n in range(200)))
        found = await all_of(subscribe(server.url, site="hq", follow=False))
        assert [number(one) for one in found] == list(range(200))
        assert all(isinstance(one, TrackEvent) for one in found)
        assert await all_of(subscribe(server.url, site="elsewhere", follow=False)) == []

    play(server, script)


def test_streams_types_and_times_are_chosen(server: Server) -> None:
    async def script(publisher: Client) -> None:
        await tell(publisher, event(0), event(1, "yard"), event(2, kind="track.ended"), event(3, "lobby"))
        since = datetime.now(UTC)
        await tell(publisher, event(4), event(5, "yard", kind="track.ended"))

        async def numbers(**chosen: Any) -> list[int]:
            return [number(one) for one in await all_of(subscribe(server.url, site="hq", follow=False, **chosen))]

        assert await numbers(streams=["gate", "lobby"]) == [0, 2, 3, 4]
        assert await numbers(streams="yard") == [1, 5]
        assert await numbers(types=["track.ended"]) == [2, 5]
        assert await numbers(streams=["gate", "yard"], types=["track.started"]) == [0, 1, 4]
        assert await numbers(since=since) == [4, 5]

    play(server, script)


def test_without_a_name_only_what_comes_is_told(server: Server) -> None:
    async def script(publisher: Client) -> None:
        await tell(publisher, event(0))
        taking = asyncio.create_task(take(subscribe(server.url, site="hq"), 2))
        await consumers(publisher, 1)
        await tell(publisher, event(1), event(2))
        assert await taking == [1, 2]

    play(server, script)


async def consumers(publisher: Client, count: int) -> None:
    while len(await publisher.jetstream().consumers_info("VIGIL_EVENTS")) != count:
        await asyncio.sleep(0.01)


def test_a_name_goes_on_where_it_left_off_and_what_was_not_done_with_comes_again(server: Server) -> None:
    async def script(publisher: Client) -> None:
        def named() -> AsyncGenerator[Event, None]:
            return subscribe(server.url, site="hq", durable="app", since="beginning")

        await tell(publisher, *(event(n) for n in range(100)))
        assert await take(named(), 10) == list(range(10))
        await tell(publisher, *(event(n) for n in range(100, 110)))
        assert await take(named(), 50) == list(range(9, 59)), "the last one was broken off at"
        assert await take(named(), 52) == list(range(58, 110))
        (info,) = await publisher.jetstream().consumers_info("VIGIL_EVENTS")
        assert (info.name, info.config.ack_policy) == ("app", "explicit")

    play(server, script)


def test_a_name_may_choose_other_streams_later(server: Server) -> None:
    async def script(publisher: Client) -> None:
        await tell(publisher, *(event(n, "gate" if n % 2 else "yard") for n in range(10)))
        one = subscribe(server.url, site="hq", durable="app", since="beginning", streams=["gate"])
        assert await take(one, 2) == [1, 3]
        both = subscribe(server.url, site="hq", durable="app", streams=["gate", "yard"])
        found = await take(both, 4)
        assert found in ([2, 3, 4, 5], [3, 4, 5, 6])  # it was between 1 and 3, and 2 was none of its streams

    play(server, script)


def test_a_server_that_is_killed_costs_and_repeats_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "WAIT_S", 0.5)
    monkeypatch.setattr(history, "BATCH", 5)
    with serving(tmp_path) as server:

        async def script(publisher: Client) -> None:
            readers: dict[str, list[int]] = {"app": [], "": []}

            async def read(name: str) -> None:
                async for one in subscribe(server.url, site="hq", durable=name or None):
                    readers[name].append(number(one))

            reading = [asyncio.create_task(read(name)) for name in readers]
            await consumers(publisher, 2)
            for round_ in range(3):
                await tell(publisher, *(event(n) for n in range(round_ * 20, round_ * 20 + 20)))
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
            await tell(publisher, event(60))
            while any(len(found) < 61 for found in readers.values()):
                await asyncio.sleep(0.01)
            assert readers == {"app": list(range(61)), "": list(range(61))}
            for one in reading:
                one.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

        play(server, script, 60)


def test_a_slow_loop_keeps_its_events(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ACK_WAIT_S", 0.3)

    async def script(publisher: Client) -> None:
        await tell(publisher, *(event(n) for n in range(4)))
        found = []
        async for one in subscribe(server.url, site="hq", durable="slow", since="beginning", follow=False):
            found.append(number(one))
            await asyncio.sleep(0.5 if number(one) == 1 else 0)
        assert found == [0, 1, 2, 3]
        (info,) = await publisher.jetstream().consumers_info("VIGIL_EVENTS")
        assert info.num_redelivered == 0

    play(server, script)


def test_what_a_newer_vigil_tells_is_given_as_it_is(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    async def script(publisher: Client) -> None:
        new = {"schema_version": "1.9", "event_id": "hq-gate-1-1-face", "type": "face.seen", "site": "hq",
               "stream": "gate", "captured_at": "2026-11-21T03:07:54Z", "mood": "merry"}  # fmt: skip
        await publisher.jetstream().publish("vigil.hq.events.gate.junk", b"\x00 no JSON")
        await tell(publisher, event(0), new, event(2, reason="teleported", novelty=7), event(3, novelty=8))
        found = await all_of(subscribe(server.url, site="hq", follow=False))
        assert [type(one) for one in found] == [TrackEvent, OtherEvent, OtherEvent, TrackEvent]
        other = found[1]
        assert isinstance(other, OtherEvent)
        assert (other.type, other.model_extra) == ("face.seen", {"schema_version": "1.9", "mood": "merry"})

    play(server, script)
    assert "vigil.hq.events.gate.junk is left out" in caplog.text


def test_an_event_that_was_sent_twice_is_given_once(server: Server) -> None:
    async def script(publisher: Client) -> None:
        for n in (0, 1, 0, 2):  # without the header that JetStream drops repeats by
            body = json.dumps(event(n)).encode()
            await publisher.jetstream().publish("vigil.hq.events.gate.track.started", body)
        found = await all_of(subscribe(server.url, site="hq", durable="once", since="beginning", follow=False))
        assert [number(one) for one in found] == [0, 1, 2]
        async with asyncio.timeout(10):  # the server takes acknowledgements in its own time
            while True:
                (info,) = await publisher.jetstream().consumers_info("VIGIL_EVENTS")
                if (info.num_pending, info.num_ack_pending) == (0, 0):
                    break

    play(server, script)


def test_who_does_not_want_to_wait_is_told_what_is_missing(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization {token: "s3cr3t"}') as server:

        def code(**settings: Any) -> str:
            with pytest.raises(NatsError) as error:
                asyncio.run(all_of(subscribe(server.url, site="hq", wait=False, **settings)))
            return error.value.code

        assert code(token="wrong") == "nats.auth"
        assert code(token="s3cr3t") == "nats.no_answer"
        server.stop()
        assert code() == "nats.unreachable"


def test_who_waits_begins_when_vigil_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(tmp_path)

    async def main() -> None:
        async with asyncio.timeout(20):
            taking = asyncio.create_task(take(subscribe(server.url, site="hq", since="beginning"), 1))
            while "cannot connect to NATS" not in caplog.text:
                await asyncio.sleep(0.01)
            server.start()
            while "there is no JetStream stream VIGIL_EVENTS" not in caplog.text:
                await asyncio.sleep(0.01)
            publisher = await emptied(server.url)
            await tell(publisher, event(7))
            assert await taking == [7]
            await publisher.close()

    try:
        asyncio.run(main())
    finally:
        server.stop()
    assert caplog.text.count("cannot connect to NATS") == 1


def test_frames_are_given_as_they_come(server: Server) -> None:
    async def script(publisher: Client) -> None:
        async with aclosing(frames(server.url, site="hq", streams=["gate"])) as found:
            first = asyncio.ensure_future(anext(found))
            seq = 0
            while not first.done():  # core NATS keeps nothing for who is not there yet
                seq += 1
                await publisher.publish("vigil.hq.frames.yard", json.dumps(frame(seq, "yard")).encode())
                await publisher.publish("vigil.hq.frames.gate", json.dumps(frame(seq)).encode())
                await asyncio.sleep(0.01)
            assert (await first).stream == "gate"
            await publisher.publish("vigil.hq.frames.gate", b"junk")
            packed = ormsgpack.packb(frame(9999))
            await publisher.publish("vigil.hq.frames.gate", packed, headers={"content-type": "application/msgpack"})
            async for one in found:
                assert one.stream == "gate"
                if one.seq == 9999:
                    break

    play(server, script)


def test_who_takes_frames_slowly_gets_the_newest(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES", 10)

    async def script(publisher: Client) -> None:
        async with aclosing(frames(server.url, site="hq")) as found:
            first = asyncio.ensure_future(anext(found))
            while not first.done():
                await publisher.publish("vigil.hq.frames.gate", json.dumps(frame(0)).encode())
                await asyncio.sleep(0.01)
            for seq in range(1, 101):
                await publisher.publish("vigil.hq.frames.gate", json.dumps(frame(seq)).encode())
            await publisher.flush()
            while "taken too slowly" not in caplog.text:
                await asyncio.sleep(0.01)
            await publisher.publish("vigil.hq.frames.gate", json.dumps(frame(101)).encode())
            await publisher.flush()
            seqs = []
            async for one in found:
                seqs.append(one.seq)
                if one.seq == 101:
                    break
            assert len(seqs) <= 12 and seqs == sorted(seqs)

    play(server, script)


def test_importing_the_client_is_light() -> None:
    heavy = ["torch", "av", "cv2", "openvino", "supervision", "ultralytics", "fastapi", "uvicorn", "aiortc", "numba"]
    code = f"import sys, publish.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_readmes_example_runs_and_goes_on_where_it_left_off(server: Server) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = code.replace("nats://127.0.0.1:4222", server.url)

    def run(last: str) -> list[str]:
        """What it prints up to the line of this track; then it is killed."""
        with subprocess.Popen(
            [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            killer = threading.Timer(20, process.kill)
            killer.start()
            assert process.stdout is not None and process.stderr is not None
            found: list[str] = []
            for line in process.stdout:
                found.append(line.strip())
                if line.split()[-1] == last:
                    break
            killer.cancel()
            process.kill()
            assert process.stderr.read() == ""
            return found

    async def script(publisher: Client) -> None:
        running = asyncio.create_task(asyncio.to_thread(run, "gate/1/2"))
        await consumers(publisher, 1)
        await tell(publisher, event(1), event(2))
        first = await running
        assert [line.split()[-1] for line in first] == ["gate/1/1", "gate/1/2"]
        assert first[0] == "2026-11-21 03:07:55+00:00 gate track.started person gate/1/1"
        await tell(publisher, event(3), event(4))
        again = [line.split()[-1] for line in await asyncio.to_thread(run, "gate/1/4")]
        assert again in (["gate/1/2", "gate/1/3", "gate/1/4"], ["gate/1/3", "gate/1/4"])

    play(server, script, 60)
