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

# And how many frames a second are compared.
VIDEOS = {
    "car-park": ("person-bicycle-car-detection.mp4", 0.2),
    "bottle": ("bottle-detection.mp4", 0.2),
    "crowd": ("pedestrian-crowd.avi", 0.5),
}
BOX_TOLERANCE_PX = 1.0
SCORE_TOLERANCE = 0.01
CONFIDENCE = 0.25
# Less than half of any frame interval here.
SAME_FRAME_S = 0.009


def test_boxes_equal_ultralytics_on_the_same_frames(
    run_to_its_end: Callable[[dict[str, Any]], tuple[Running, Inbox]], data: Path
) -> None:
    weights = data / "weights" / "yolov8n.pt"
    streams = {name: {"url": str(data / "videos" / file), "pace": "fast", "on_full": "block", "fps": fps}
               for name, (file, fps) in VIDEOS.items()}  # fmt: skip
    detector = {"model": str(weights), "precision": "fp32", "confidence": CONFIDENCE}
    _, inbox = run_to_its_end({"streams": streams, "detector": detector})
    from ultralytics import YOLO

    model = YOLO(str(weights))
    compared = 0
    for name, (file, _) in VIDEOS.items():
        results = inbox.of(name)
        assert len(results) >= 3
        first: float | None = None
        with av.open(str(data / "videos" / file)) as container:
            for image in container.decode(video=0):
                # AVI knows no times, only the order of decoding.
                stamp = image.dts if file.endswith(".avi") else image.pts
                if stamp is None or image.time_base is None:
                    continue
                at = float(stamp * image.time_base)
                first = at if first is None else first
                for result in [one for one in results if abs(one["pts"] - (at - first)) < SAME_FRAME_S]:
                    expected = model.predict(image.to_ndarray(format="bgr24"), conf=CONFIDENCE, verbose=False)[0]
                    where = f"{name} at {result['pts']:.2f} s"
                    compared += assert_same(result["objects"], expected.boxes.data.cpu().numpy(), where)
                    results.remove(result)
        assert results == []
    assert compared > 100


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
