"""`auto` takes the fastest runtime, measures once, says so, and does without what fails."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.input import InputSpec
from inference.model import STARTER, ModelInfo
from inference.runtimes import RUNTIMES, auto, load_runtime

CPU = {"runtime": "auto", "device": "cpu", "image_size": 320}


class Toy:
    """Takes `SECONDS` for a batch, whatever is in it."""

    SECONDS, parallel, max_batch = 0.01, 1, 1
    runs = 0

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        self.info = ModelInfo(path.stem, "0" * 16, ("person",), "yolo", InputSpec(), config.image_size,
                              type(self).__name__, config.device, "fp32")  # fmt: skip

    def prepare(self, height: int, width: int) -> None:
        pass

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        type(self).runs += 1
        time.sleep(self.SECONDS)
        return [np.zeros((len(pictures), 5, 1), np.float32)]


class Slow(Toy):
    pass


class Fast(Toy):
    SECONDS = 0.004


class Batching(Toy):
    """Slower a batch than `Fast`, faster a frame."""

    SECONDS, max_batch = 0.02, 16


class Parallel(Toy):
    """Slower a batch than `Fast`, but four at once."""

    SECONDS, parallel = 0.008, 4


class Refusing(Toy):
    def __init__(self, path: Path, config: DetectorConfig) -> None:
        raise ModelError("this toy refuses")


class Crashing(Toy):
    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        raise RuntimeError("this toy crashes")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(auto, "MEASURE_S", 0.15)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes toys the runtimes of a CPU: `toys(openvino=Slow, onnx=Fast)`."""
    module = ModuleType("toy_runtimes")

    def install(**runtimes: type[Toy]) -> None:
        for name, toy in runtimes.items():
            toy.runs = 0
            setattr(module, toy.__name__, toy)
            monkeypatch.setitem(RUNTIMES, name, f"toy_runtimes:{toy.__name__}")

    monkeypatch.setitem(sys.modules, "toy_runtimes", module)
    return install


def test_the_real_ones_are_measured_and_one_is_taken() -> None:
    with capture_logs() as logs:
        runtime = load_runtime(STARTER, DetectorConfig.model_validate(CPU))
    (line,) = [line for line in logs if line["event"] == "runtime chosen"]
    assert set(line["fps"]) == {"openvino", "onnx"}
    assert min(line["fps"].values()) > 0
    assert runtime.info.runtime == line["runtime"] == max(line["fps"], key=line["fps"].get)


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [(Slow, Fast, "Fast"), (Fast, Slow, "Fast"), (Fast, Batching, "Batching"), (Fast, Parallel, "Parallel")],
)
def test_the_fastest_is_taken(toys: Any, first: type[Toy], second: type[Toy], winner: str) -> None:
    toys(openvino=first, onnx=second)
    assert load_runtime(STARTER, DetectorConfig.model_validate(CPU)).info.runtime == winner


def test_it_is_measured_once(toys: Any) -> None:
    toys(openvino=Slow, onnx=Fast)
    load_runtime(STARTER, DetectorConfig.model_validate(CPU))
    assert Slow.runs > 1
    Slow.runs = Fast.runs = 0
    with capture_logs() as logs:
        runtime = load_runtime(STARTER, DetectorConfig.model_validate(CPU))
    assert (runtime.info.runtime, Slow.runs, Fast.runs, logs) == ("Fast", 0, 0, [])


@pytest.mark.parametrize("change", [{"image_size": 640}, {"precision": "fp32"}])
def test_another_setting_is_measured_anew(toys: Any, change: dict[str, Any]) -> None:
    toys(openvino=Slow, onnx=Fast)
    load_runtime(STARTER, DetectorConfig.model_validate(CPU))
    Slow.runs = 0
    load_runtime(STARTER, DetectorConfig.model_validate(CPU | change))
    assert Slow.runs > 1


def test_another_version_device_or_model_is_another_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = DetectorConfig.model_validate(CPU)
    before = auto.key(STARTER, config)
    assert auto.key(STARTER, config) == before
    (tmp_path / "other.onnx").write_bytes(b"other")
    assert auto.key(tmp_path / "other.onnx", config) != before
    with monkeypatch.context() as patch:
        patch.setattr(auto, "version", lambda package: "99")
        assert auto.key(STARTER, config) != before
    monkeypatch.setattr(auto, "_device_name", lambda device: "another processor")
    assert auto.key(STARTER, config) != before


@pytest.mark.parametrize("broken", [Refusing, Crashing])
def test_what_fails_is_told_left_out_and_tried_again_next_time(toys: Any, broken: type[Toy]) -> None:
    toys(openvino=broken, onnx=Slow)
    for _ in range(2):
        with capture_logs() as logs:
            assert load_runtime(STARTER, DetectorConfig.model_validate(CPU)).info.runtime == "Slow"
        (told,) = [line for line in logs if line["event"] == "runtime left out"]
        assert (told["runtime"], "this toy" in told["error"]) == ("openvino", True)


def test_when_all_fail_the_start_fails(toys: Any) -> None:
    toys(openvino=Crashing, onnx=Refusing)
    with pytest.raises(ModelError, match="this toy refuses"):
        load_runtime(STARTER, DetectorConfig.model_validate(CPU))


def test_a_kept_choice_that_fails_is_measured_again(toys: Any) -> None:
    toys(openvino=Slow, onnx=Fast)
    load_runtime(STARTER, DetectorConfig.model_validate(CPU))
    toys(onnx=Refusing)
    with capture_logs() as logs:
        assert load_runtime(STARTER, DetectorConfig.model_validate(CPU)).info.runtime == "Slow"
    assert logs[0]["event"] == "the runtime of the last start fails; measuring again"


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"runtime": "abacus"})])
def test_a_spoilt_choice_is_measured_again(toys: Any, tmp_path: Path, content: str) -> None:
    toys(openvino=Slow, onnx=Fast)
    load_runtime(STARTER, DetectorConfig.model_validate(CPU))
    (file,) = (tmp_path / "vigil" / "models").glob("auto-*.json")
    file.write_text(content)
    Slow.runs = 0
    assert load_runtime(STARTER, DetectorConfig.model_validate(CPU)).info.runtime == "Fast"
    assert Slow.runs > 1


def test_one_candidate_is_not_measured(toys: Any, tmp_path: Path) -> None:
    toys(openvino=Slow)
    weights = tmp_path / "weights.pt"
    weights.touch()
    assert load_runtime(weights, DetectorConfig.model_validate(CPU)).info.runtime == "Slow"
    assert Slow.runs == 0


@pytest.mark.parametrize(
    ("file", "device", "precision", "installed", "expected"),
    [
        ("m.pt", "cpu", "auto", {"onnxruntime", "tensorrt"}, ["openvino"]),
        ("m.onnx", "cpu", "auto", {"onnxruntime"}, ["openvino", "onnx"]),
        ("m.onnx", "cpu", "auto", set(), ["openvino"]),
        ("m.onnx", "cpu", "int8", {"onnxruntime"}, ["openvino"]),
        ("m.pt", "cuda", "auto", set(), ["torch"]),
        ("m.pt", "cuda:1", "fp16", {"tensorrt"}, ["torch", "tensorrt"]),
        ("m.onnx", "cuda", "auto", {"onnxruntime", "tensorrt"}, ["tensorrt", "onnx"]),
        ("m.onnx", "cuda", "int8", {"onnxruntime", "tensorrt"}, ["tensorrt"]),
        ("m.pt", "cuda", "int8", set(), []),
    ],
)
def test_who_is_a_candidate(
    file: str, device: str, precision: str, installed: set[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "_is_installed", installed.__contains__)
    assert auto.candidates(Path(file), device, precision) == expected


def test_without_a_candidate_for_the_gpu_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_is_installed", set[str]().__contains__)
    with pytest.raises(ModelError, match=r"nothing installed computes starter.onnx with precision 'auto' on 'cuda'"):
        load_runtime(STARTER, DetectorConfig(runtime="auto", device="cuda"))


def test_a_gpu_that_cannot_be_used_leaves_the_cpu(toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    toys(openvino=Slow, onnx=Refusing)
    monkeypatch.setattr(auto, "devices", lambda wanted: ["cuda", "cpu"])
    with capture_logs() as logs:
        runtime = load_runtime(STARTER, DetectorConfig(runtime="auto", device="auto"))
    assert (runtime.info.runtime, runtime.info.device) == ("Slow", "cpu")
    assert logs[0] == {"event": "the GPU is not used", "log_level": "warning", "error": "this toy refuses"}
