"""A ReID model's file says what it takes and gives; what is none is refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, ValueInfoProto, helper, save

from inference.model import STARTER
from tracking.reid.onnx_file import ReidError, ReidShape, read_shape
from vigil.document import ConfigError
from vigil.load import load

GOOD_INPUT = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 256, 128])
GOOD_OUTPUT = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 512])


def written(file: Path, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> Path:
    graph = helper.make_graph([], "reid", inputs, outputs)
    save(helper.make_model(graph), str(file))
    return file


def tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def test_a_real_model_says_its_shape(data: Path) -> None:
    assert read_shape(data / "weights/osnet_x0_25_msmt17.onnx") == ReidShape("images", 256, 128, 512)


def test_sizes_are_those_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path / "a.onnx", [tensor("x", 1, 3, 384, 96)], [tensor("y", 1, 77)])
    assert read_shape(file) == ReidShape("x", 384, 96, 77)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([tensor("x", "N", 3, "h", "w")], [GOOD_OUTPUT], r"x float32 \[free, 3, free, free\]"),
        ([tensor("x", "N", 1, 256, 128)], [GOOD_OUTPUT], r"x float32 \[free, 1, 256, 128\]"),
        ([tensor("x", "N", 3, 256, 128, kind=TensorProto.UINT8)], [GOOD_OUTPUT], "takes x of type 2"),
        ([tensor("x", 16, 3, 256, 128)], [GOOD_OUTPUT], "batches of 16"),
        ([GOOD_INPUT, tensor("cameras", "N")], [GOOD_OUTPUT], "2 inputs"),
        ([GOOD_INPUT], [tensor("y", "N", 8, 8, 512)], r"gives y float32 \[free, 8, 8, 512\]"),
        ([GOOD_INPUT], [tensor("y", "N", "D")], r"gives y float32 \[free, free\]"),
        ([GOOD_INPUT], [GOOD_OUTPUT, tensor("more", "N", 2)], "more float32"),
    ],
)
def test_other_models_are_refused_and_told_what_they_are(
    tmp_path: Path, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], said: str
) -> None:
    with pytest.raises(ReidError, match=said):
        read_shape(written(tmp_path / "other.onnx", inputs, outputs))


def test_a_detector_is_no_reid_model() -> None:
    with pytest.raises(ReidError, match="a ReID model takes"):
        read_shape(STARTER)


def test_a_file_that_was_not_fully_copied_is_refused(data: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    whole = (data / "weights/osnet_x0_25_msmt17.onnx").read_bytes()
    for size in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        half.write_bytes(whole[:size])
        with pytest.raises(ReidError):
            read_shape(half)


@given(st.binary(max_size=400))
@example(b"8\x00\x00\x00")
def test_any_bytes_are_refused_and_nothing_else_happens(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.onnx"
    file.write_bytes(data)
    with pytest.raises(ReidError):
        read_shape(file)


# -- in a config


def config(folder: Path, reid: str) -> Path:
    file = folder / "vigil.yaml"
    file.write_text(f"tracker: {{kind: botsort, reid: {reid}}}\nstreams:\n  gate: {{url: 'rtsp://x/y'}}\n")
    return file


@pytest.mark.parametrize(
    ("written", "means"), [("off", "off"), ("'off'", "off"), ("false", "off"), ("detector", "detector")]
)
def test_what_needs_no_file(tmp_path: Path, written: str, means: str) -> None:
    assert load(config(tmp_path, written)).tracker_of("gate").reid == means


def test_nothing_is_off() -> None:
    assert load(Path(__file__).parents[2] / "configs/vigil.yaml").tracker.reid == "off"


def test_a_relative_path_starts_at_the_config_also_for_one_stream(tmp_path: Path) -> None:
    model = written(tmp_path / "reid.onnx", [GOOD_INPUT], [GOOD_OUTPUT])
    assert load(config(tmp_path, "reid.onnx")).tracker_of("gate").reid == str(model)
    (tmp_path / "vigil.yaml").write_text(
        "streams:\n  gate: {url: 'rtsp://x/y', tracker: {kind: botsort, reid: reid.onnx}}\n  yard: {url: 'rtsp://x/z'}\n"
    )
    loaded = load(tmp_path / "vigil.yaml")
    assert [loaded.tracker_of(name).reid for name in ("gate", "yard")] == [str(model), "off"]


@pytest.mark.parametrize(
    ("reid", "code", "said"),
    [
        ("reid.onnx", "config.file_missing", "there is no such file"),
        ("wrong.onnx", "reid.unusable", "no ONNX file"),
        ("detectors", "config.value", "neither `off`, `detector` nor"),
        ("on", "config.value", "neither `off`, `detector` nor"),
        ("7", "config.value", "string"),
    ],
)
def test_what_cannot_be_used_fails_the_check(tmp_path: Path, reid: str, code: str, said: str) -> None:
    (tmp_path / "wrong.onnx").write_text("not a model\n")
    with pytest.raises(ConfigError) as caught:
        load(config(tmp_path, reid))
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == (code, "tracker.reid")
    assert said in problem.message


def test_checking_loads_nothing_heavy() -> None:
    """The supervisor and the CLI check configs."""
    heavy = "{'numba', 'cv2', 'av', 'openvino', 'onnxruntime', 'torch', 'onnx'}"
    code = f"import sys, vigil.config; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
