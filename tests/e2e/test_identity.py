"""Two cameras that see the same people call them by the same names, and go on doing so when a worker dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.e2e.real import Inbox, Running, wait_for

OVERLAP = 0.9


def overlap(one: list[float], other: list[float]) -> float:
    """IoU."""
    left, top, right, bottom = (f(a, b) for f, a, b in zip((max, max, min, min), one, other, strict=True))
    shared = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(shared / (sum(areas) - shared))


def named(frame: dict[str, Any]) -> list[dict[str, Any]]:
    return [seen for seen in frame["objects"] if "global_id" in seen]


def pairs(inbox: Inbox) -> Iterator[tuple[tuple[int, str], tuple[int, str]]]:
    """One and the same person in the same picture of both streams: track and name here and there."""
    here = {frame["pts"]: frame for frame in inbox.of("gate")}
    for frame in inbox.of("yard"):
        for one in named(here.get(frame["pts"], {"objects": []})):
            for other in named(frame):
                if overlap(one["box"], other["box"]) > OVERLAP:
                    yield (one["track_id"], one["global_id"]), (other["track_id"], other["global_id"])


def test_the_same_people_have_the_same_names_in_two_cameras_and_after_a_workers_death(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], data: Path
) -> None:
    video = {"url": str(data / "videos/PETS09-S2L1.mp4"), "pace": "realtime", "loop": True}
    service = run_service({
        "streams": {"gate": video, "yard": video},
        "detector": {"model": str(data / "weights/yolov8n.pt"), "image_size": 416, "classes": ["person"]},
        "tracker": {"reid": str(data / "weights/osnet_x0_25_msmt17.onnx"), "updates": 600},
        "identity": {"enabled": True, "looks": 3},
        "workers": {"streams_per_worker": 1},
    })  # fmt: skip
    inbox = subscribe(service)
    wait_for("people who are known in both cameras", lambda: len({pair[0] for pair in set(pairs(inbox))}) >= 4)
    met = set(pairs(inbox))
    alike = sum(one == other for (_, one), (_, other) in met)
    assert alike >= 0.75 * len(met), met
    known = {who for (_, who), _ in met}

    updates = [event for event in inbox.events if event["type"] == "track.updated"]
    assert {event["global_id"] for event in updates} >= known
    assert all("identity" in event["changed"] for event in updates), "nothing else changes as soon as that"
    assert Counter(event["event_id"] for event in inbox.events).most_common(1)[0][1] == 1

    before = max(frame["session"] for frame in inbox.frames)
    victim = next(process for process in service.children()["worker"])
    victim.kill()
    hit = wait_for("another session", lambda: next(
        (frame["stream"] for frame in reversed(inbox.frames) if frame["session"] > before), None))  # fmt: skip

    def again() -> set[str]:
        new = [frame for frame in inbox.of(hit) if frame["session"] > before]
        return {seen["global_id"] for frame in new for seen in named(frame)}

    wait_for("people who are known from before", lambda: len(again() & known) >= 2)
    assert service.stop() == 0
