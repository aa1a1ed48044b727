"""Whatever is killed is soon serving again, and whatever is stopped leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import psutil
import pytest

from tests.e2e.conftest import services, subscriptions
from tests.e2e.real import Inbox, Running, wait_for
from tests.e2e.test_refusals import refused
from vigil.nats_server import find_binary

# Five seconds, and as long again for a machine that is busy with other tests.
RECOVERY_S = 10.0
TRACK_EVENTS = ("track.started", "track.ended")


def with_two_workers(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> tuple[Running, Inbox]:
    """Two streams in two workers, both delivering."""
    stream = {"url": str(street), "loop": True}
    service = run_service({"workers": {"streams_per_worker": 1}, "streams": {"a": stream, "b": stream}})
    inbox = subscribe(service)
    wait_for("results of both", lambda: len(inbox.of("a")) > 10 and len(inbox.of("b")) > 10)
    return service, inbox


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory, street: Path) -> Iterator[tuple[Running, Inbox]]:
    """One for all tests after which it goes on."""
    with services(tmp_path_factory.mktemp("survivor")) as run_service, subscriptions() as subscribe:
        yield with_two_workers(run_service, subscribe, street)


def worker_of(service: Running, stream: str) -> psutil.Process:
    """The worker of the stream: they are numbered in the config's order."""
    title = f"vigil worker-{list(service.config['streams']).index(stream)}"

    def found() -> list[psutil.Process]:
        return [worker for worker in service.children()["worker"] if " ".join(worker.cmdline()).strip() == title]

    wait_for(f"{title} runs", lambda: len(found()) == 1)
    return found()[0]


def sessions(inbox: Inbox, after: float = 0.0) -> dict[str, set[int]]:
    """Of each stream's results that arrived after a moment."""
    return {
        stream: {frame["session"] for frame in inbox.of(stream) if frame["_arrived"] > after} for stream in ("a", "b")
    }


def delivers_after(inbox: Inbox, stream: str, moment: float) -> bool:
    return any(frame["_arrived"] > moment for frame in inbox.of(stream))


async def stored(service: Running) -> list[dict[str, Any]]:
    """All events that JetStream has."""
    client = await nats.connect(service.addresses["nats"])
    try:
        subscription = await client.jetstream().subscribe("vigil.*.events.>", ordered_consumer=True)
        found = []
        while not found or found[-1].metadata.num_pending:
            found.append(await subscription.next_msg(5))
        return [json.loads(message.data) for message in found]
    finally:
        await client.close()


def test_a_killed_worker_is_replaced_and_its_neighbour_loses_nothing(survivor: tuple[Running, Inbox]) -> None:
    service, inbox = survivor
    session, neighbours = inbox.of("a")[-1]["session"], inbox.of("b")[-1]["session"]
    worker_of(service, "a").kill()
    killed = time.monotonic()
    wait_for("results of the killed worker's stream", lambda: any(
        frame["session"] > session for frame in inbox.of("a")), RECOVERY_S)  # fmt: skip
    wait_for("results of the neighbour", lambda: delivers_after(inbox, "b", killed + 1.0), RECOVERY_S)
    assert sessions(inbox, killed)["b"] == {neighbours}


def test_a_killed_fork_server_harms_nobody_and_is_there_when_it_is_needed(survivor: tuple[Running, Inbox]) -> None:
    service, inbox = survivor
    (server,) = service.children()["fork server"]
    assert server.num_threads() == 1  # another thread's locks would be forked in whatever state they are
    before = sessions(inbox)
    server.kill()
    killed = time.monotonic()
    for stream in ("a", "b"):
        wait_for(f"results of {stream}", lambda stream=stream: delivers_after(inbox, stream, killed), RECOVERY_S)
    assert sessions(inbox) == before
    last = max(before["a"])
    worker_of(service, "a").kill()
    wait_for("results of the killed worker's stream", lambda: any(
        frame["session"] > last for frame in inbox.of("a")))  # fmt: skip
    assert service.children()["fork server"] != [server]


def test_a_killed_detector_is_replaced_and_streams_keep_their_sessions(survivor: tuple[Running, Inbox]) -> None:
    service, inbox = survivor
    before = sessions(inbox)
    (detector,) = service.children()["detector"]
    detector.kill()
    detector.wait()
    killed = time.monotonic()
    for stream in ("a", "b"):
        wait_for(f"results of {stream}", lambda stream=stream: delivers_after(inbox, stream, killed), RECOVERY_S)
    assert sessions(inbox) == before
    scrape = service.get("/metrics")
    assert 'outcome="dropped_detector"' in scrape


def test_a_killed_nats_server_is_replaced_and_every_event_arrives_once(survivor: tuple[Running, Inbox]) -> None:
    service, inbox = survivor
    (server,) = service.children()["nats"]
    server.kill()
    server.wait()
    killed = time.monotonic()
    wait_for("results", lambda: delivers_after(inbox, "a", killed) and delivers_after(inbox, "b", killed))
    # The subscriber itself was away for a while: JetStream knows what it missed.
    command = [sys.executable, "-m", "vigil.cli", "events", "-c", str(service.file), "--since", "5m", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        wait_for("an event after the kill", lambda: any(e["_arrived"] > killed for e in inbox.events))
        last = inbox.events[-1]["event_id"]
        seen = [json.loads(events.stdout.readline())["event_id"]]
        while seen[-1] != last:
            seen.append(json.loads(events.stdout.readline())["event_id"])
        events.kill()
    assert len(seen) == len(set(seen))


def test_a_hung_worker_is_found_out_and_replaced(survivor: tuple[Running, Inbox]) -> None:
    service, inbox = survivor
    worker = worker_of(service, "a")
    session = inbox.of("a")[-1]["session"]
    worker.suspend()
    wait_for("a new session", lambda: any(frame["session"] > session for frame in inbox.of("a")))


def test_a_second_service_on_the_same_state_is_refused(survivor: tuple[Running, Inbox]) -> None:
    service, inbox = survivor
    second = Running(service.file, {})
    error = refused(second)
    assert "another Vigil serves site 'test'" in error
    now = time.monotonic()
    wait_for("results of the first", lambda: delivers_after(inbox, "a", now), RECOVERY_S)


def shared_memory() -> set[str]:
    """Blocks by name, but for those of a browser that another test may have started."""
    return {name for name in os.listdir("/dev/shm") if "chromium" not in name.lower()}


def assert_stops(service: Running, signum: signal.Signals, files: list[str]) -> None:
    """It drains, and leaves no process, no memory and only these files behind."""
    shared = shared_memory()
    service.children()
    service.process.send_signal(signum)
    assert service.process.wait(2 * RECOVERY_S) == 0
    assert service.leftovers() == []
    assert shared_memory() <= shared
    assert sorted(path.name for path in service.state.iterdir()) == files


def test_a_killed_service_leaves_no_process_and_starts_again(
    survivor: tuple[Running, Inbox], subscribe: Callable[[Running], Inbox]
) -> None:
    """After all that the tests before have done to it."""
    service, inbox = survivor
    since = time.monotonic()
    wait_for("tracks", lambda: any(e["type"] == "track.started" and e["_arrived"] > since for e in inbox.events))
    service.children()
    service.process.kill()
    service.process.wait()
    inbox.settle()
    killed = max(frame["session"] for frame in inbox.frames)
    wait_for("the children's end", lambda: not service.leftovers(), RECOVERY_S)
    service = Running(service.file, {})
    try:
        service.wait_started()
        again = subscribe(service)
        wait_for("results of the new one", lambda: again.of("a") and again.of("b"))

        def ended() -> bool:
            kept = [event for event in asyncio.run(stored(service)) if event["session"] <= killed]
            ids = [event["event_id"] for event in kept]
            assert len(ids) == len(set(ids))
            told = {kind: {event["track_uid"] for event in kept if event["type"] == kind} for kind in TRACK_EVENTS}
            reasons = {event["reason"] for event in kept if event["type"] == "track.ended"}
            return told["track.started"] == told["track.ended"] and "interrupted" in reasons

        wait_for("the end of every track of the killed one", ended)
        wait_for("tracks of the new one", lambda: started(again, killed))
        assert_stops(service, signal.SIGTERM, ["lock", "nats", "outbox.db"])
        again.settle()
        ends = [event["track_uid"] for event in again.events if event["type"] == "track.ended"]
        assert started(again, killed) <= set(ends)
        assert len(ends) == len(set(ends))
    finally:
        service.kill_all()


def started(inbox: Inbox, after: int) -> set[str]:
    """Tracks of sessions after this one."""
    begun = (event for event in inbox.events if event["type"] == "track.started")
    return {event["track_uid"] for event in begun if event["session"] > after}


def test_a_nats_server_that_comes_late_gets_every_event(
    run_service: Callable[..., Running], street: Path, tmp_path: Path
) -> None:
    # Bound, it is nobody else's until the server comes, which Linux lets bind it too.
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    port = reserved.getsockname()[1]
    url = f"nats://127.0.0.1:{port}"
    stream = {"url": str(street), "loop": True}
    service = run_service({"streams": {"a": stream}, "nats": {"url": url}})
    wait_for("the absence is told", lambda: "cannot connect to NATS" in service.log.read_text())
    wait_for("tracks", lambda: service.streams()["a"]["tracks"] > 0)
    assert service.ready()["nats"] is False
    command = [find_binary(), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(tmp_path / "js")]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for("the connection", lambda: service.ready()["nats"])
        waiting = "vigil_outbox_pending 0.0"
        wait_for("every event is acknowledged", lambda: waiting in service.get("/metrics"))
        made = sum(float(n) for n in re.findall(r"vigil_events_total\{.*\} (\S+)", service.get("/metrics")))
        where = ["--nats", url, "--site", "test", "--since", "5m", "--json"]
        events = [sys.executable, "-m", "vigil.cli", "events", *where]
        with subprocess.Popen(events, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout is not None
            seen = [json.loads(reader.stdout.readline())["event_id"] for _ in range(int(made))]
            reader.kill()
        assert_stops(service, signal.SIGINT, ["lock", "outbox.db"])
    finally:
        server.kill()
        server.wait()
        reserved.close()
    assert len(set(seen)) == len(seen) >= 3
