"""`vigil run` reports the boxes that Ultralytics' own predict finds on the same frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.real import Inbox, Running

VIDEOS = {
    "car-park": "person-bicycle-car-detection.mp4",
    "bottle": "bottle-detection.mp4",
    "crowd": "pedestrian-crowd.avi",
}
BOX_TOLERANCE_PX = 1.0
SCORE_TOLERANCE = 0.01
CONFIDENCE = 0.25


def test_boxes_equal_ultralytics_on_the_same_frames(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], data: Path
) -> None:
    weights = data / "weights" / "yolov8n.pt"
    streams = {name: {"url": str(data / "videos" / file), "pace": "fast", "on_full": "block", "fps": 1}
               for name, file in VIDEOS.items()}  # fmt: skip
    detector = {"model": str(weights), "precision": "fp32", "confidence": CONFIDENCE}
    service = run_service({"streams": streams, "detector": detector}, wait=False)
    service.wait_started(120)
    inbox = subscribe(service)
    assert service.process.wait(120) == 0, service.log.read_text()
    from ultralytics import YOLO

    model = YOLO(str(weights))
    compared = 0
    for name, file in VIDEOS.items():
        results = {frame["seq"]: frame for frame in inbox.of(name)}
        assert len(results) >= 6
        with av.open(str(data / "videos" / file)) as container:
            for seq, image in enumerate(container.decode(video=0)):
                if seq in results:
                    expected = model.predict(image.to_ndarray(format="bgr24"), conf=CONFIDENCE, verbose=False)[0]
                    compared += assert_same(results[seq]["objects"], expected.boxes.data.cpu().numpy(), f"{name} {seq}")
    assert compared > 200


def assert_same(found: list[dict[str, Any]], expected: NDArray[np.float32], where: str) -> int:
    """Every box has its twin; one within the tolerance of the score limit may be missing on either side."""
    ours = [(np.array(seen["box"]), seen["confidence"], seen["class_id"]) for seen in found]
    theirs = [(row[:4], float(row[4]), int(row[5])) for row in expected]
    for one, other in ((ours, theirs), (theirs, ours)):
        for box, score, class_id in one:
            twins = [
                twin for twin, twin_score, twin_class in other
                if twin_class == class_id and abs(twin_score - score) <= SCORE_TOLERANCE
                and np.abs(twin - box).max() <= BOX_TOLERANCE_PX
            ]  # fmt: skip
            if not twins and score > CONFIDENCE + SCORE_TOLERANCE:
                pytest.fail(f"{where}: no twin for class {class_id} at {score:.3f} {box}; candidates {other}")
    return len(ours)
