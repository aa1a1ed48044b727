"""A recording replayed gives what the service says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.real import Inbox, Running
from vigil.recording import Analyst
from vigil.replay import Request, replay

# Of the time of day, and of where and when it was served.
ELSEWHERE = {"session", "captured_at", "started_at", "latency_ms", "event_id", "track_uid"}


GROUND = {"picture": [[0.1, 0.5], [0.9, 0.5], [1.0, 1.0], [0.0, 1.0]], "metres": [[0, 8], [6, 8], [6, 0], [0, 0]]}


def of_the_picture(message: Any) -> Any:
    if isinstance(message, list):
        return [of_the_picture(part) for part in message]
    if not isinstance(message, dict):
        return message
    return {key: of_the_picture(value) for key, value in message.items() if key[0] != "_" and key not in ELSEWHERE}


def test_a_replayed_recording_gives_the_services_frame_results_and_events(
    run_to_its_end: Callable[[dict[str, Any]], tuple[Running, Inbox]], street: Path, tmp_path: Path
) -> None:
    half = [[0.34, 0.0], [1.0, 0.0], [1.0, 1.0], [0.34, 1.0]]
    service, inbox = run_to_its_end({"streams": {"cam": {
        "url": str(street), "pace": "fast", "on_full": "block",
        "zones": {"half": {"polygon": half, "dwell": 0.5, "hold": 0.1}},
        "lines": {"middle": {"from": [0.34, 1.0], "to": [0.34, 0.0], "hold": 0.1, "every": 1.5}},
        "ground": GROUND,
    }}})  # fmt: skip
    request = Request(config=service.file, out=tmp_path, jsonl=True)
    outcome = replay(street, Analyst.load(request.settings()), request, lambda done, of: None)
    assert outcome.error is None
    assert {"zone.entered", "zone.left", "zone.dwell", "line.crossed", "line.counted"} <= outcome.events.keys()
    for kind, served in (("frames", inbox.frames), ("events", inbox.events)):
        replayed = [json.loads(line) for line in (tmp_path / f"street.{kind}.jsonl").read_text().splitlines()]
        assert [of_the_picture(message) for message in replayed] == [of_the_picture(message) for message in served]
