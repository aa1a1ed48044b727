"""Every runtime computes the same, and every supported architecture goes through the default one."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import load_head
from inference.model import STARTER
from inference.openvino_cache import alone
from inference.runtimes import Runtime, load_runtime
from inference.runtimes.openvino import OpenVinoRuntime
from inference.sidecar import sidecar_path

SIZE = (160, 224)
# YOLO26 has both heads; Ultralytics predicts with NMS unless the weights say otherwise.
ARCHITECTURES = [
    ("yolov8n.yaml", False, "yolo"),
    ("yolo11n.yaml", False, "yolo"),
    ("yolo26n.yaml", False, "yolo"),
    ("yolo26n.yaml", True, "yolo_end2end"),
]


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=lambda case: f"{case[0]}-{case[2]}")
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of Ultralytics' with untrained weights, and the head it needs."""
    import torch
    from ultralytics import YOLO

    architecture, end2end, head = request.param
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / architecture.replace(".yaml", ".pt")
    model = YOLO(architecture)
    if end2end:
        model.model.end2end = True
    model.save(str(path))
    return path, head


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def load(path: Path, runtime: str) -> Runtime:
    loaded = load_runtime(path, DetectorConfig(runtime=runtime, device="cpu", precision="fp32"))
    loaded.prepare(*SIZE)
    return loaded


def test_all_runtimes_agree(
    weights: tuple[Path, str], picture: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path, head = weights
    runtimes = [load(path, name) for name in ("openvino", "torch")]
    outputs = [runtime.infer([picture])[0][0] for runtime in runtimes]
    assert {runtime.info.head for runtime in runtimes} == {head}
    assert len(runtimes[0].info.names) == 80
    for output in outputs[1:]:
        if head == "yolo":
            np.testing.assert_allclose(output, outputs[0], rtol=1e-3, atol=2e-2)
        else:  # untrained scores are nearly equal, so the order of the candidates is not
            np.testing.assert_allclose(output[:, 4], outputs[0][:, 4], atol=1e-3)


def test_the_starter_says_what_it_is_and_sees_people_before_a_bus() -> None:
    import cv2

    from inference.letterbox import Letterbox
    from ingest.scene import photo_path

    photo = cv2.imread(str(photo_path("bus.jpg")))
    assert photo is not None
    letterbox = Letterbox.fit(photo.shape[1], photo.shape[0], 416)
    slot = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
    letterbox.apply(photo, slot)
    runtime = load_runtime(STARTER, DetectorConfig(image_size=416))
    runtime.prepare(letterbox.height, letterbox.width)
    head = load_head(runtime.info, 0.3, 0.7, None, 300)
    seen = [
        runtime.info.names[int(row[5])]
        for row in head.decode([runtime.infer([slot])[0][0]], letterbox.height, letterbox.width).rows
    ]
    assert seen.count("person") >= 3
    assert "bus" in seen
    assert STARTER.stat().st_size <= 6_000_000


@pytest.fixture
def photo() -> NDArray[np.uint8]:
    """A photograph in a slot of 416 x 320 pixels."""
    import cv2

    from inference.letterbox import Letterbox
    from ingest.scene import photo_path

    picture = cv2.imread(str(photo_path("zidane.jpg")))
    assert picture is not None
    letterbox = Letterbox.fit(picture.shape[1], picture.shape[0], 416)
    slot = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
    letterbox.apply(picture, slot)  # type: ignore[arg-type]
    return slot


def outputs_of(path: Path, runtime: str, picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    loaded = load_runtime(path, DetectorConfig(runtime=runtime, device="cpu", precision="fp32"))
    loaded.prepare(*picture.shape[:2])
    assert loaded.info.runtime == runtime
    return [output[0].copy() for output in loaded.infer([picture])]


def test_a_model_is_compiled_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime = OpenVinoRuntime(STARTER, DetectorConfig.model_validate({"precision": "fp32", "image_size": 320}))
    waits = threading.Thread(target=runtime.prepare, args=(64, 64))
    with alone(STARTER):
        waits.start()
        waits.join(0.5)
        assert waits.is_alive()
    waits.join(10)
    assert not waits.is_alive()


def test_onnx_files_are_read_alike_by_both_of_their_runtimes(photo: NDArray[np.uint8]) -> None:
    (ours,), (theirs,) = outputs_of(STARTER, "onnx", photo), outputs_of(STARTER, "openvino", photo)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-2)
    assert ours[4:].max() > 0.5


def test_normalisation_by_mean_and_deviation_is_the_same_in_both(
    photo: NDArray[np.uint8], data: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(data / "weights" / "yolox_nano.onnx", tmp_path))
    sidecar = {"head": "yolox", "names": [str(n) for n in range(80)], "fit": "top_left", "color": "bgr",
               "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # fmt: skip
    sidecar_path(path).write_text(yaml.safe_dump(sidecar))
    (ours,), (theirs,) = outputs_of(path, "onnx", photo), outputs_of(path, "openvino", photo)
    np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("file", "settings", "said"),
    [
        ("weights.pt", {}, "the onnx runtime reads .onnx files, not weights.pt"),
        ("garbage.onnx", {}, "ONNX Runtime cannot read"),
        (None, {"precision": "bf16"}, "computes in fp32, not bf16"),
        (None, {"device": "cuda"}, "has no CUDA"),
    ],
)
def test_what_onnx_runtime_cannot_do_is_refused_in_words(
    file: str | None, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    path = STARTER
    if file:
        path = tmp_path / file
        path.write_bytes(b"not a model")
    config = DetectorConfig.model_validate({"runtime": "onnx", "device": "cpu", **settings})
    with pytest.raises(ModelError, match=said):
        load_runtime(path, config)
