"""Through our own path a model is as accurate as through its authors'."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.accuracy import evaluate
from inference.config import DetectorConfig
from tests.inference.test_sidecar import documented, write

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


def test_a_model_described_by_a_sidecar_is_as_accurate_as_its_data_says(data: Path, tmp_path: Path) -> None:
    """0.332 is what comes with the weights, scored with several classes for one box."""
    model = write(Path(shutil.copy(data / "weights" / "yolox_nano.onnx", tmp_path)), documented("YOLOX"))
    config = DetectorConfig(model=str(model), runtime="openvino", device="cpu", precision="fp32")
    assert evaluate(config, data / "images" / "coco128").map50_95 == pytest.approx(0.332, abs=0.006)
