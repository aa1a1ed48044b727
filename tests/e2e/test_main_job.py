"""Cameras in, tracked events out: the service and the demo as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.real import Inbox, Running, wait_for


def test_every_frame_of_a_file_is_analysed_once_and_in_order_and_every_track_ends(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path, tmp_path: Path
) -> None:
    stream = {"url": str(street), "pace": "fast", "on_full": "block"}
    service = run_service({"streams": {"a": stream, "b": stream}}, wait=False)
    inbox = wait_subscribed(service, subscribe)
    assert service.process.wait(60) == 0, service.log.read_text()
    for name in ("a", "b"):
        assert [frame["seq"] for frame in inbox.of(name)] == list(range(60))
    assert {tuple(sorted(f["frame"].items())) for f in inbox.frames} == {(("height", 240), ("width", 320))}
    assert_pairs(inbox)
    assert sum(event["type"] == "track.started" for event in inbox.events) >= 4
    for event in inbox.events:
        assert event["_subject"] == f"vigil.test.events.{event['stream']}.{event['type']}"
        assert event["_headers"]["Nats-Msg-Id"] == event["event_id"] == event["_headers"]["ce-id"]
    last = {status["stream"]: status["state"] for status in inbox.status}
    assert last == {"a": "ended", "b": "ended"}


def wait_subscribed(service: Running, subscribe: Callable[[Running], Inbox]) -> Inbox:
    """Subscribes as soon as there are addresses, before the streams deliver."""
    service.wait_started()
    return subscribe(service)


def assert_pairs(inbox: Inbox) -> None:
    """Every started track ended exactly once, and no event came twice."""
    ids = Counter(event["event_id"] for event in inbox.events)
    assert max(ids.values()) == 1
    started = {event["track_uid"] for event in inbox.events if event["type"] == "track.started"}
    ended = {event["track_uid"] for event in inbox.events if event["type"] == "track.ended"}
    assert started == ended
    assert started


def test_the_scrape_adds_up_and_readiness_tells_the_truth(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> None:
    service = run_service({"streams": {"cam": {"url": str(street), "loop": True, "fps": 5}}})
    inbox = subscribe(service)
    wait_for("results", lambda: len(inbox.frames) > 10)
    assert wait_for("readiness", lambda: service.ready()["status"] == "ready")
    assert json.loads(service.get("/health/live")) == {"status": "live"}
    scrape = service.get("/metrics")
    counts = re.findall(r'vigil_frames_total\{outcome="(\w+)",stream="cam"\} (\S+)', scrape)
    frames = {outcome: float(value) for outcome, value in counts}
    flying = float(re.findall(r'vigil_frames_in_flight\{stream="cam"\} (\S+)', scrape)[0])
    assert frames.pop("decoded") == sum(frames.values()) + flying
    assert frames["skipped_sample"] > 0
    assert 'vigil_model_info{device="cpu"' in scrape
    assert service.streams()["cam"]["state"] == "live"


def test_events_can_be_read_back_with_the_command(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> None:
    service = run_service({"streams": {"cam": {"url": str(street), "loop": True}}})
    inbox = subscribe(service)
    wait_for("an event", lambda: inbox.events)
    command = [sys.executable, "-m", "vigil.cli", "events", "-c", str(service.file), "--since", "1m", "--json"]
    with subprocess.Popen([*command, "--type", "track.started"], stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        event = json.loads(events.stdout.readline())
        events.kill()
    assert event["event_id"] == inbox.events[0]["event_id"]


def test_the_demo_shows_three_live_streams_with_tracks_and_events_back_from_nats() -> None:
    command = [sys.executable, "-m", "vigil.cli", "demo", "--seconds", "20", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["live_streams"] == len(summary["streams"]) >= 3
    assert all(stream["tracks"] > 0 for stream in summary["streams"].values())
    assert summary["events_received"] > 0
    assert summary["dropped_by_error"] == 0
    assert summary["first_event_s"] < 15


def test_the_demo_on_a_users_own_file_in_an_80_column_terminal(street: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "40", "TERM": "xterm"}
    command = [sys.executable, "-m", "vigil.cli", "demo", "--source", str(street), "--seconds", "14"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    assert process.returncode == 0, output.decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    table = [line for line in re.split(r"[\r\n]+", text) if line.startswith(("stream ", "cam1 "))]
    assert any("live" in line for line in table)
    assert all(len(line) <= 80 for line in table)
    assert "track.started" in text


def test_the_demo_fails_when_a_source_cannot_be_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vigil.cli", "demo", "--seconds", "8", "--source", str(tmp_path / "none.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "config.file_missing" in done.stderr
