"""At three times what the detector can do: latency holds, shares are as the weights, every frame adds up."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.scene import Scene, encode
from tests.e2e.real import Inbox, Running, wait_for

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
MEASURED_S = 8.0


@pytest.fixture(scope="module")
def rush(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds at 25 fps, small enough to decode for next to nothing."""
    path = tmp_path_factory.mktemp("videos") / "rush.mp4"
    encode(Scene("rush", "bus.jpg", 25, 2, 160, 120, 0.9), path)
    return path


def measure(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], folder: Path, video: Path, fps: float
) -> tuple[float, dict[str, int], dict[str, Counter[str]]]:
    """The 99th percentile of latency in seconds, and by stream the frames received and the frames accounted for."""
    (folder / "steady_runtime.py").write_text(RUNTIME)
    config: dict[str, Any] = {
        "detector": {"model": "starter", "runtime": "steady_runtime:Steady", "device": "cpu"},
        "streams": {name: {"url": str(video), "loop": True, "fps": fps, "weight": weight}
                    for name, weight in WEIGHTS.items()},
    }  # fmt: skip
    service = run_service(config, env={"PYTHONPATH": str(folder)})
    inbox = subscribe(service)
    wait_for("results of every stream", lambda: all(len(inbox.of(name)) > 10 for name in WEIGHTS))
    began = time.monotonic()
    wait_for("the measured time to pass", lambda: time.monotonic() - began > MEASURED_S, MEASURED_S + 5)
    measured = [frame for frame in list(inbox.frames) if frame["_arrived"] > began]
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in WEIGHTS}
    for outcome, stream, count in re.findall(
        r'vigil_frames_total\{outcome="(\w+)",stream="(\w+)"\} (\S+)', service.get("/metrics")
    ):
        outcomes[stream][outcome] = int(float(count))
    service.kill_all()
    p99 = float(np.percentile([frame["latency_ms"] for frame in measured], 99)) / 1e3
    return p99, Counter(frame["stream"] for frame in measured), outcomes


def test_three_times_too_much_is_served_in_time_and_fairly(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], tmp_path: Path, rush: Path
) -> None:
    capacity = 1 / FRAME_S
    easy_s, _, _ = measure(run_service, subscribe, tmp_path, rush, 0.8 * capacity / len(WEIGHTS))
    p99_s, served, outcomes = measure(run_service, subscribe, tmp_path, rush, 3.0 * capacity / len(WEIGHTS))
    assert p99_s < 2 * max(easy_s, len(WEIGHTS) * FRAME_S)
    total, weights = sum(served.values()), sum(WEIGHTS.values())
    assert total > 0.8 * capacity * MEASURED_S, "the detector was kept waiting"
    for name, weight in WEIGHTS.items():
        share = weight / weights * total
        assert abs(served[name] - share) <= 0.1 * share, f"{name} was served {served[name]} times, its share is {share}"
    for name, fates in outcomes.items():
        assert fates["decoded"] >= fates["analysed"] + fates["dropped_stale"]
        assert fates["dropped_stale"] > 0
        assert fates["dropped_ring"] == fates["dropped_detector"] == fates["dropped_error"] == 0, name
