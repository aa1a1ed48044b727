"""Through our own path a model is as accurate as through its authors'."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy import evaluate
from inference.config import DetectorConfig

# `YOLO.predict` on the same images, scored the same way. Ultralytics' `val`, which pads pictures further and reports
# several classes for one box, says 0.432.
ULTRALYTICS = 0.4494


@pytest.mark.timeout(400)  # the first run quantises, which takes 20 s on an idle machine
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 0.003), ("bf16", 0.01), ("int8", 0.02)])
def test_map_on_coco128_is_ultralytics(data: Path, precision: str, tolerance: float) -> None:
    images = data / "images" / "coco128"
    config = DetectorConfig.model_validate({
        "model": str(data / "weights" / "yolov8n.pt"), "runtime": "openvino", "device": "cpu", "precision": precision,
        "calibration": images / "images" if precision == "int8" else None,
    })  # fmt: skip
    accuracy = evaluate(config, images)
    assert accuracy.images == 128
    assert accuracy.map50_95 == pytest.approx(ULTRALYTICS, abs=tolerance)
