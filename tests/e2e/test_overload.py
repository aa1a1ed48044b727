"""At three times what the detector can do: latency holds, shares are as the weights, every frame adds up."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from ingest.scene import Scene, encode
from tests.e2e.real import Inbox, Running, wait_for

pytestmark = pytest.mark.alone

# A detector that takes exactly so long for each frame and hardly any CPU: 50 frames a second, whatever the machine.
FRAME_S = 0.02
RUNTIME = f"""
import time
import numpy as np
from inference.input import InputSpec
from inference.model import ModelInfo


class Steady:
    parallel, max_batch = 1, 1

    def __init__(self, path, config):
        self.info = ModelInfo("steady", "0" * 16, ("person",), "yolo_end2end", InputSpec(), 64, "steady", "-", "-")

    def prepare(self, height, width):
        pass

    def infer(self, pictures):
        time.sleep({FRAME_S})
        return [np.array([[[5, 5, 30, 30, 0.9, 0]]] * len(pictures), np.float32)]
"""
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 2.0, "d": 0.5, "e": 1.0, "f": 1.0}
EASY_S, MEASURED_S = 3.0, 6.0


@pytest.fixture(scope="module")
def rush(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 fps, small enough to decode for next to nothing."""
    path = tmp_path_factory.mktemp("videos") / "rush.mp4"
    encode(Scene("rush", "bus.jpg", 25, 2, 160, 120, 0.9), path)
    return path


def offer(service: Running, inbox: Inbox, fps: float) -> None:
    """Has every camera deliver so many frames a second from now on."""
    before = {name: max((frame["session"] for frame in inbox.of(name)), default=0) for name in WEIGHTS}
    config = yaml.safe_load(service.file.read_text())
    for stream in config["streams"].values():
        stream["fps"] = fps
    part = service.file.with_suffix(".part")
    part.write_text(yaml.safe_dump(config))
    part.replace(service.file)
    wait_for("results of every camera, begun anew", lambda: all(
        sum(frame["session"] > before[name] for frame in inbox.of(name)) > 5 for name in WEIGHTS))  # fmt: skip


def measure(inbox: Inbox, for_s: float) -> tuple[float, Counter[str]]:
    """The 99th percentile of latency in seconds, and by stream the frames received, from now on for a while."""
    began = time.monotonic()
    wait_for("the measured time to pass", lambda: time.monotonic() - began > for_s)
    measured = [frame for frame in list(inbox.frames) if frame["_arrived"] > began]
    p99 = float(np.percentile([frame["latency_ms"] for frame in measured], 99)) / 1e3
    return p99, Counter(frame["stream"] for frame in measured)


def outcomes(service: Running) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {name: Counter() for name in WEIGHTS}
    for outcome, stream, count in re.findall(
        r'vigil_frames_total\{outcome="(\w+)",stream="(\w+)"\} (\S+)', service.get("/metrics")
    ):
        found[stream][outcome] = int(float(count))
    return found


def test_three_times_too_much_is_served_in_time_and_fairly(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], tmp_path: Path, rush: Path
) -> None:
    capacity = 1 / FRAME_S
    (tmp_path / "steady_runtime.py").write_text(RUNTIME)
    easy = 0.8 * capacity / len(WEIGHTS)
    path = ":".join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    service = run_service({
        "detector": {"model": "starter", "runtime": "steady_runtime:Steady", "device": "cpu"},
        "streams": {name: {"url": str(rush), "loop": True, "fps": easy, "weight": weight}
                    for name, weight in WEIGHTS.items()},
    }, env={"PYTHONPATH": path})  # fmt: skip
    inbox = subscribe(service)
    wait_for("results of every stream", lambda: all(len(inbox.of(name)) > 5 for name in WEIGHTS))
    easy_s, _ = measure(inbox, EASY_S)
    offer(service, inbox, 3.0 * capacity / len(WEIGHTS))
    before = outcomes(service)
    p99_s, served = measure(inbox, MEASURED_S)
    assert p99_s < 2 * max(easy_s, len(WEIGHTS) * FRAME_S)
    total, weights = sum(served.values()), sum(WEIGHTS.values())
    assert total > 0.8 * capacity * MEASURED_S, "the detector was kept waiting"
    for name, weight in WEIGHTS.items():
        share = weight / weights * total
        # One frame more or less is the edge of the measured time.
        assert abs(served[name] - share) <= 0.1 * share + 1, (
            f"{name} was served {served[name]} times, its share is {share}"
        )
    for name, fates in outcomes(service).items():
        assert fates["decoded"] >= fates["analysed"] + fates["dropped_stale"]
        assert fates["dropped_stale"] > 0
        since = fates - before[name]
        assert since["dropped_detector"] == since["dropped_error"] == 0, name
        assert since["dropped_ring"] <= 0.01 * since["decoded"], f"{name}: a busy machine's, at most"
