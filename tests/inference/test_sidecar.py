"""A model that does not say what it is says so in a sidecar, or is refused with the sidecar that it needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import check_head, load_head
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.model import describe
from inference.runtimes import load_runtime
from inference.sidecar import read_sidecar, sidecar_path

ROOT = Path(__file__).resolve().parents[2]


def documented(title: str) -> dict[str, object]:
    """The sidecar shown in docs/models.md under this title."""
    section = (ROOT / "docs/models.md").read_text().split(f"### {title}\n")[1]
    shown: dict[str, object] = yaml.safe_load(section.split("```yaml\n")[1].split("```")[0])
    return shown


def write(model: Path, content: object) -> Path:
    sidecar_path(model).write_text(yaml.safe_dump(content))
    return model


@pytest.mark.parametrize("title", ["YOLOX", "RT-DETR", "RF-DETR"])
def test_the_documented_sidecars_are_valid(title: str, tmp_path: Path) -> None:
    sidecar = read_sidecar(write(tmp_path / "model.onnx", documented(title)))
    assert sidecar is not None
    assert sidecar.head.startswith(title.lower().replace("-", ""))


def test_a_sidecar_goes_before_the_files_own_metadata(tmp_path: Path) -> None:
    model = write(
        tmp_path / "model.onnx", {"head": "yolox", "names": ["cat"], "stride": 64, "color": "bgr", "scale": 1}
    )
    described = describe(model, {"task": "detect", "names": "{0: 'dog'}", "stride": "32"})
    assert (described.names, described.head) == (("cat",), "yolox")
    assert described.input == InputSpec(stride=64, color="bgr", scale=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"head": "yolox"}, "names: Field required"),
        ({"head": "ssd", "names": ["a"]}, "head: Input should be 'yolo'"),
        ({"head": "yolox", "names": []}, "names: List should have at least 1 item"),
        ({"head": "yolox", "names": ["a"], "colour": "bgr"}, "colour: Extra inputs are not permitted"),
        ({"head": "yolox", "names": ["a"], "std": [1, 1]}, "std.2: Field required"),
        (["yolox"], "the file: Input should be"),
        ({"head": "pose", "names": ["a"]}, "keypoints: [how many, 2 or 3] belongs to the head 'pose'"),
        ({"head": "yolo", "names": ["a"], "keypoints": [17, 3]}, "keypoints: [how many, 2 or 3] belongs to the head"),
        ({"head": "pose", "names": ["a"], "keypoints": [17, 4]}, "keypoints.1: Input should be 2 or 3"),
        ({"head": "pose", "names": ["a"], "keypoints": [0, 3]}, "keypoints.0: Input should be greater than or equal"),
        ({"head": "yolo", "names": ["a"], "self_test": "perhaps"}, "self_test: Input should be a valid boolean"),
    ],
)
def test_a_wrong_sidecar_is_refused_by_field(tmp_path: Path, content: object, said: str) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx\.yaml") as refusal:
        read_sidecar(write(tmp_path / "model.onnx", content))
    assert said in str(refusal.value)


def test_a_pose_models_sidecar_says_its_keypoints(tmp_path: Path) -> None:
    model = write(tmp_path / "model.onnx", {"head": "pose", "names": ["person"], "keypoints": [17, 3]})
    assert describe(model, {}).keypoints == (17, 3)


def test_a_fixed_input_must_fit_the_stride(tmp_path: Path) -> None:
    model = write(tmp_path / "model.onnx", {"head": "rfdetr", "names": ["a"], "fixed": [560, 570], "stride": 56})
    with pytest.raises(ModelError, match="not a multiple of its stride, 56"):
        describe(model, {})


@pytest.fixture
def yolox(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(data / "weights" / "yolox_nano.onnx", tmp_path))


def people(model: Path, data: Path) -> int:
    """How many persons of a crowd the model finds."""
    runtime = load_runtime(model, DetectorConfig(runtime="openvino", device="cpu", precision="fp32"))
    head = load_head(runtime.info, 0.3, 0.65, None, 300)
    with av.open(str(data / "videos" / "pedestrian-crowd.avi")) as container:
        frame = next(container.decode(video=0))
    box = Letterbox.fit(frame.width, frame.height, 640, runtime.info.input)
    slot = np.empty((box.height, box.width, 3), np.uint8)
    box.apply(frame.to_ndarray(format="bgr24"), slot)
    runtime.prepare(box.height, box.width)
    outputs = [output[0] for output in runtime.infer([slot])]
    check_head(head, runtime.info, outputs, box.height, box.width)
    rows = head.decode(outputs, box.height, box.width).rows
    boxes = box.to_source(rows[:, :4])
    assert (boxes[:, 2] > boxes[:, 0]).all()
    return [runtime.info.names[int(row[5])] for row in rows].count("person")


def test_a_yolox_file_finds_people_with_its_sidecar(yolox: Path, data: Path) -> None:
    assert 25 <= people(write(yolox, documented("YOLOX")), data) <= 50  # some 30 are there; misread scores make 300


def test_a_yolox_file_whose_scores_are_before_the_sigmoid_is_refused_as_one_with_scores(
    yolox: Path, data: Path
) -> None:
    with pytest.raises(ModelError, match="instead of 0 and 1: say `head: yolox_raw`"):
        people(write(yolox, documented("YOLOX") | {"head": "yolox"}), data)


def test_a_yolox_file_without_a_sidecar_is_refused(yolox: Path) -> None:
    with pytest.raises(ModelError, match=r"does not say its task, names, stride: write a sidecar yolox_nano.onnx.yaml"):
        load_runtime(yolox, DetectorConfig(runtime="openvino", device="cpu"))


def test_a_sidecar_with_too_few_names_is_refused(yolox: Path, data: Path) -> None:
    content = documented("YOLOX") | {"names": ["person", "bicycle"]}
    with pytest.raises(ModelError, match="names 2 classes, but its output has 80"):
        people(write(yolox, content), data)
