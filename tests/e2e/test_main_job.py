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

from tests.e2e.real import Inbox, Running


def test_every_frame_of_a_file_is_analysed_once_and_in_order_and_every_track_ends(
    run_to_its_end: Callable[[dict[str, Any]], tuple[Running, Inbox]], street: Path
) -> None:
    stream = {"url": str(street), "pace": "fast", "on_full": "block"}
    _, inbox = run_to_its_end({"streams": {"a": stream, "b": stream}})
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


def assert_pairs(inbox: Inbox) -> None:
    """Every started track ended exactly once, and no event came twice."""
    ids = Counter(event["event_id"] for event in inbox.events)
    assert max(ids.values()) == 1
    started = {event["track_uid"] for event in inbox.events if event["type"] == "track.started"}
    ended = {event["track_uid"] for event in inbox.events if event["type"] == "track.ended"}
    assert started == ended
    assert started


def test_the_demo_shows_three_live_streams_with_tracks_and_events_back_from_nats() -> None:
    command = [sys.executable, "-m", "vigil.cli", "demo", "--seconds", "14", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["live_streams"] == len(summary["streams"]) >= 3
    assert all(stream["tracks"] > 0 for stream in summary["streams"].values())
    assert summary["events_received"] > 0
    assert summary["dropped_by_error"] == 0
    assert 0 < summary["first_event_s"] <= summary["seconds"]


def test_the_demo_on_a_users_own_file_in_an_80_column_terminal(street: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "LINES": "40", "TERM": "xterm"}
    command = [sys.executable, "-m", "vigil.cli", "demo", "--source", str(street), "--seconds", "9"]
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
