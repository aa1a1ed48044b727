"""`vigil run` with models other than plain detectors that describe themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from inference.masks import Mask
from tests.e2e.real import Inbox, Running
from tests.untrained import liven

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def yolox(data: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the model, and the sidecar that docs/models.md shows for it."""
    shown = (ROOT / "docs/models.md").read_text().split("### YOLOX\n")[1].split("```yaml\n")[1].split("```")[0]
    return Path(shutil.copy(data / "weights" / "yolox_nano.onnx", tmp_path)), yaml.safe_load(shown)


def config(model: Path, sidecar: dict[str, Any], data: Path) -> dict[str, Any]:
    model.with_name(f"{model.name}.yaml").write_text(yaml.safe_dump(sidecar))
    stream = {"url": str(data / "videos" / "pedestrian-crowd.avi"), "pace": "fast", "on_full": "block", "fps": 2}
    return {"streams": {"crowd": stream}, "detector": {"model": str(model), "confidence": 0.3}}


def test_a_yolox_file_finds_the_people_of_a_crowd(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], data: Path,
    yolox: tuple[Path, dict[str, Any]],
) -> None:  # fmt: skip
    service = run_service(config(*yolox, data), wait=False)
    service.wait_started()
    inbox = subscribe(service)
    assert service.process.wait(100) == 0, service.log.read_text()
    frames = inbox.of("crowd")
    assert len(frames) >= 10
    for frame in frames:
        people = [seen for seen in frame["objects"] if seen["class_name"] == "person"]
        assert 20 <= len(people) <= 60  # some 22 to 36 are in view
        assert all(0 <= seen["confidence"] < 1 for seen in people)
        assert set(people[0]) == {"track_id", "class_id", "class_name", "confidence", "box"}
        heights = [seen["box"][3] - seen["box"][1] for seen in people]
        assert 20 < sum(heights) / len(heights) < 250
    assert any(event["type"] == "track.started" and event["class_name"] == "person" for event in inbox.events)


def test_the_service_does_not_start_with_a_wrongly_described_model(
    run_service: Callable[..., Running], data: Path, yolox: tuple[Path, dict[str, Any]]
) -> None:
    model, sidecar = yolox
    service = run_service(config(model, sidecar | {"color": "bgr"}, data), wait=False)
    assert service.process.wait(60) == 1
    assert "mend that in its sidecar" in service.log.read_text()
    assert "`color: rgb`" in service.log.read_text()


def test_masks_reach_subscribers_in_source_pixels(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path, tmp_path: Path
) -> None:
    """An untrained network, whose objects are nonsense with shapes."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(0)
    model = YOLO("yolov8n-seg.yaml")
    liven(model.model)
    weights = tmp_path / "shapes.pt"
    model.save(str(weights))
    stream = {"url": str(street), "pace": "fast", "on_full": "block", "fps": 2}
    detector = {"model": str(weights), "image_size": 320, "confidence": 0.01, "max_detections": 20}
    service = run_service({"streams": {"a": stream}, "detector": detector}, wait=False)
    service.wait_started(100)
    inbox = subscribe(service)
    assert service.process.wait(60) == 0, service.log.read_text()
    seen = [one for frame in inbox.of("a") for one in frame["objects"] if "mask" in one]
    assert len(seen) >= 20
    for one in seen:
        assert one["mask"]["size"] == [240, 320]
        lines, columns = np.nonzero(Mask(240, 320, one["mask"]["counts"]).decode())
        x1, y1, x2, y2 = one["box"]
        assert x1 - 1.5 <= columns.min() <= columns.max() <= x2 + 1.5
        assert y1 - 1.5 <= lines.min() <= lines.max() <= y2 + 1.5
