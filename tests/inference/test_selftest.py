"""A model that is described with the wrong colours or numbers is found out at load, and told how it is meant."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from inference import selftest
from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.input import InputSpec
from inference.model import STARTER, ModelInfo
from inference.selftest import IMAGENET, as_if, self_test
from inference.sidecar import sidecar_path
from ingest.errors import Reason, SourceError
from vigil.detector import load

MEAN, STD = (list(values) for values in IMAGENET)
STARTER_NAMES = ["person", "bicycle", "car", "motorcycle", "bus", "truck"]


def loaded(model: Path, folder: Path, sidecar: dict[str, Any] | None) -> list[str]:
    """Loads a copy of the model as the detector does, with this sidecar; returns what was logged at warning level."""
    path = Path(shutil.copy(model, folder))
    if sidecar is not None:
        sidecar_path(path).write_text(yaml.safe_dump(sidecar))
    config = DetectorConfig(model=str(path), runtime="openvino", device="cpu", precision="fp32")
    with capture_logs() as logs:
        load(config, CollectorRegistry())
    assert any("self-test" in line["event"] for line in logs) == (sidecar is None or sidecar.get("self_test", True))
    return [line["event"] for line in logs if line["log_level"] == "warning"]


def starter(**said: Any) -> dict[str, Any]:
    return {"head": "yolo", "names": STARTER_NAMES, **said}


def yolox(**said: Any) -> dict[str, Any]:
    return {"head": "yolox_raw", "names": [str(n) for n in range(80)], "fit": "top_left", "mean": MEAN, "std": STD,
            **said}  # fmt: skip


def test_a_model_described_rightly_loads_without_a_word(tmp_path: Path) -> None:
    assert loaded(STARTER, tmp_path, None) == []


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ({"color": "bgr"}, "`color: rgb`"),
        ({"scale": 1}, "`scale: 255`"),
        ({"mean": MEAN, "std": STD}, "`mean: [0.0, 0.0, 0.0]`, `std: [1.0, 1.0, 1.0]`"),
        ({"color": "bgr", "mean": MEAN, "std": STD}, "`color: rgb`, `mean: [0.0, 0.0, 0.0]`, `std: [1.0, 1.0, 1.0]`"),
    ],
)
def test_a_wrong_description_is_refused_with_its_mend(tmp_path: Path, said: dict[str, Any], mend: str) -> None:
    with pytest.raises(ModelError) as refusal:
        loaded(STARTER, tmp_path, starter(**said))
    assert f"with {mend}: mend that in its sidecar" in str(refusal.value)


def test_who_knows_better_may_say_so(tmp_path: Path) -> None:
    assert loaded(STARTER, tmp_path, starter(color="bgr", self_test=False)) == []


def test_a_normalised_model_loads_when_it_is_described_as_one(tmp_path: Path, data: Path) -> None:
    assert loaded(data / "weights" / "yolox_nano.onnx", tmp_path, yolox()) == []


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ({"color": "bgr"}, "`color: rgb`"),
        ({"color": "bgr", "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}, "`scale: 255`"),
    ],
)
def test_a_yolox_file_described_as_another_of_its_kind_is_refused(
    tmp_path: Path, data: Path, said: dict[str, Any], mend: str
) -> None:
    with pytest.raises(ModelError, match="sees .*% of two test photographs") as refusal:
        loaded(data / "weights" / "yolox_nano.onnx", tmp_path, yolox(**said))
    assert f"with {mend}" in str(refusal.value)


def test_a_model_that_sees_a_little_more_otherwise_loads_with_a_warning(tmp_path: Path, data: Path) -> None:
    """YOLOv8 was trained to bear changed colours."""
    weights = data / "weights" / "yolov8n.pt"
    assert loaded(weights, tmp_path, None) == []
    said = {"head": "yolo", "names": [str(n) for n in range(80)], "color": "bgr"}
    assert loaded(weights, tmp_path, said) == ["self-test: a little more is seen otherwise"]


class Blind:
    """Sees nothing in anything, however many pictures it is shown."""

    parallel, max_batch = 1, 1

    def __init__(self, *names: str) -> None:
        self.info = ModelInfo("blind", "0" * 16, names, "yolo", InputSpec(), 640, "none", "cpu", "fp32")
        self.shown = 0

    def prepare(self, height: int, width: int) -> None: ...

    def infer(self, pictures: Any) -> list[NDArray[np.float32]]:
        self.shown += 1
        return [np.zeros((1, 4 + len(self.info.names), 7), np.float32)]


@pytest.mark.parametrize(("name", "level"), [("helmet", "info"), ("person", "warning")])
def test_a_model_that_sees_nothing_either_way_passes(name: str, level: str) -> None:
    with capture_logs() as logs:
        self_test(Blind(name))
    (line,) = logs
    assert line["log_level"] == level
    assert "saw nothing" in line["event"]


def test_a_slow_model_is_not_tried_for_longer_than_the_budget() -> None:
    blind = Blind("helmet")
    with capture_logs() as logs:
        self_test(blind, budget_s=0)
    assert blind.shown == len(selftest.PHOTOS)
    assert logs[0]["event"] == "self-test cut short"


def test_without_the_photographs_it_is_skipped_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise SourceError(Reason.NOT_FOUND, f"no photograph {name}")

    monkeypatch.setattr(selftest, "photo_path", missing)
    with capture_logs() as logs:
        self_test(Blind("person"))
    assert logs[0]["event"] == "self-test skipped"


def fed(picture: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float64]:
    """What a model computes on."""
    ordered = picture[..., ::-1] if spec.color == "rgb" else picture
    return (ordered / spec.scale - np.array(spec.mean)) / np.array(spec.std)


NORMALISED = InputSpec(mean=IMAGENET[0], std=IMAGENET[1])


@pytest.mark.parametrize(
    ("described", "other", "tolerance"),
    [
        (InputSpec(), InputSpec(), 0),
        (InputSpec(), InputSpec(color="bgr"), 0),
        (NORMALISED, replace(NORMALISED, color="bgr"), 1e-12),
        (NORMALISED, InputSpec(), 0.5 / 255 / 0.224),
        (InputSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)), InputSpec(color="bgr"), 1 / 255),
        (InputSpec(scale=1), InputSpec(), 0.5),
    ],
)
def test_a_picture_is_made_as_if_it_were_described_otherwise(
    described: InputSpec, other: InputSpec, tolerance: float
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(fed(as_if(picture, described, other), described), fed(picture, other), atol=tolerance)
