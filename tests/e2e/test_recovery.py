"""Whatever is killed is serving again within five seconds, and whatever is stopped leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.e2e.real import Inbox, Running, wait_for
from tests.e2e.test_main_job import assert_pairs
from vigil.nats_server import find_binary

RECOVERY_S = 5.0


@pytest.fixture
def two_workers(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> tuple[Running, Inbox]:
    """Two streams in two workers, both delivering, and a worker in reserve."""
    stream = {"url": str(street), "loop": True}
    service = run_service({"workers": {"streams_per_worker": 1}, "streams": {"a": stream, "b": stream}})
    inbox = subscribe(service)
    wait_for("results of both", lambda: len(inbox.of("a")) > 10 and len(inbox.of("b")) > 10)
    wait_for("the reserve", lambda: len(service.children()["worker"]) == 3)
    return service, inbox


def worker_of(service: Running, stream: str) -> psutil.Process:
    """The worker that was started for the stream: they start in the config's order."""
    workers = sorted(service.children()["worker"], key=lambda p: p.create_time())
    return workers[list(service.config["streams"]).index(stream)]


def delivers_after(inbox: Inbox, stream: str, moment: float) -> bool:
    return any(frame["_arrived"] > moment for frame in inbox.of(stream))


def test_a_killed_worker_is_replaced_and_its_neighbour_loses_nothing(two_workers: tuple[Running, Inbox]) -> None:
    service, inbox = two_workers
    session = inbox.of("a")[-1]["session"]
    worker_of(service, "a").kill()
    killed = time.monotonic()
    wait_for("results of the killed worker's stream", lambda: any(
        frame["session"] > session for frame in inbox.of("a")), RECOVERY_S)  # fmt: skip
    wait_for("results of the neighbour", lambda: delivers_after(inbox, "b", killed + 1.0), RECOVERY_S)
    gaps = [later["_arrived"] - earlier["_arrived"] for earlier, later in zip(
        inbox.of("b"), inbox.of("b")[1:], strict=False) if later["_arrived"] > killed]  # fmt: skip
    assert max(gaps) < 2.0
    assert len({frame["session"] for frame in inbox.of("b")}) == 1


def test_a_killed_detector_is_replaced_and_streams_keep_their_sessions(two_workers: tuple[Running, Inbox]) -> None:
    service, inbox = two_workers
    sessions = {frame["session"] for frame in inbox.frames}
    (detector,) = service.children()["detector"]
    detector.kill()
    detector.wait()
    killed = time.monotonic()
    for stream in ("a", "b"):
        wait_for(f"results of {stream}", lambda stream=stream: delivers_after(inbox, stream, killed), RECOVERY_S)
    assert {frame["session"] for frame in inbox.frames} == sessions
    scrape = service.get("/metrics")
    assert 'outcome="dropped_detector"' in scrape


def test_a_killed_nats_server_is_replaced_and_every_event_arrives_once(two_workers: tuple[Running, Inbox]) -> None:
    service, inbox = two_workers
    (server,) = service.children()["nats"]
    server.kill()
    server.wait()
    killed = time.monotonic()
    wait_for("results", lambda: delivers_after(inbox, "a", killed) and delivers_after(inbox, "b", killed), 10)
    # The subscriber itself was away for a while: JetStream knows what it missed.
    command = [sys.executable, "-m", "vigil.cli", "events", "-c", str(service.file), "--since", "5m", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        wait_for("an event after the kill", lambda: any(e["_arrived"] > killed for e in inbox.events), 20)
        last = inbox.events[-1]["event_id"]
        seen = [json.loads(events.stdout.readline())["event_id"]]
        while seen[-1] != last:
            seen.append(json.loads(events.stdout.readline())["event_id"])
        events.kill()
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_drains_and_leaves_nothing_behind(two_workers: tuple[Running, Inbox], signum: signal.Signals) -> None:
    service, inbox = two_workers
    wait_for("tracks", lambda: any(event["type"] == "track.started" for event in inbox.events))
    shared = set(os.listdir("/dev/shm"))
    service.children()
    service.process.send_signal(signum)
    assert service.process.wait(10) == 0
    assert service.leftovers() == []
    assert set(os.listdir("/dev/shm")) <= shared
    assert sorted(path.name for path in service.state.iterdir()) == ["lock", "nats"]
    assert_pairs(inbox)


def test_a_killed_service_leaves_no_process_and_starts_again(
    two_workers: tuple[Running, Inbox], run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox]
) -> None:
    service, _ = two_workers
    service.children()
    service.process.kill()
    service.process.wait()
    wait_for("the children's end", lambda: not service.leftovers(), RECOVERY_S)
    config = {key: value for key, value in service.config.items() if key != "site"}
    again = subscribe(run_service(config))
    wait_for("results of the new one", lambda: again.of("a") and again.of("b"))


def test_a_hung_worker_is_found_out_and_replaced(two_workers: tuple[Running, Inbox]) -> None:
    service, inbox = two_workers
    session = inbox.of("a")[-1]["session"]
    worker_of(service, "a").suspend()
    wait_for("a new session", lambda: any(frame["session"] > session for frame in inbox.of("a")), 20)


def test_a_nats_server_that_comes_late_gets_every_event(
    run_service: Callable[..., Running], street: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
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
    finally:
        server.kill()
        server.wait()
    assert len(set(seen)) == len(seen) >= 3
