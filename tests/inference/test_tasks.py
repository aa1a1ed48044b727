"""Models that find more than boxes go through the runtimes, and what has no head is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import check_head, load_head
from inference.model import ModelInfo, describe
from inference.runtimes import load_runtime

SIZE = (160, 224)


@pytest.mark.parametrize(
    ("architecture", "head", "classes"),
    [("yolov8n-seg.yaml", "segment", 80), ("yolov8n-pose.yaml", "pose", 1), ("yolov8n-obb.yaml", "obb", 80)],
)
def test_weights_of_every_task_run_and_both_runtimes_agree(
    architecture: str, head: str, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from ultralytics import YOLO

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(0)
    path = tmp_path / "weights.pt"
    YOLO(architecture).save(str(path))
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    outputs = []
    for name in ("openvino", "torch"):
        runtime = load_runtime(path, DetectorConfig(runtime=name, device="cpu", precision="fp32"))
        runtime.prepare(*SIZE)
        outputs.append([output[0].copy() for output in runtime.infer([picture])])
        assert (runtime.info.head, len(runtime.info.names)) == (head, classes)
        assert runtime.info.keypoints == ((17, 3) if head == "pose" else None)
        assert ModelInfo.from_json(runtime.info.to_json()) == runtime.info
        check_head(load_head(runtime.info, 0.5, 0.7, None, 300), runtime.info, outputs[-1], *SIZE)
    for ours, theirs in zip(*outputs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-2)


SAID = {"names": "{0: 'a'}", "stride": "32"}


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"task": "classify"}, "is a 'classify' model; only 'detect', 'segment', 'pose', 'obb' models can be used"),
        ({"task": "segment", "end2end": "True"}, "is an NMS-free 'segment' model, which has no head here: export it"),
        ({"task": "pose"}, "its metadata cannot be understood: KeyError"),
        ({"task": "pose", "kpt_shape": "[17, 4]"}, "is not [keypoints, 2 or 3]"),
    ],
)
def test_what_has_no_head_is_refused_in_words(metadata: dict[str, str], said: str) -> None:
    with pytest.raises(ModelError) as refusal:
        describe(Path("toy.onnx"), SAID | metadata)
    assert said in str(refusal.value)


def test_an_rtdetr_export_is_read_as_one() -> None:
    described = describe(Path("toy.onnx"), SAID | {"task": "detect", "head": "RTDETRDecoder"})
    assert (described.head, described.input.fit) == ("rtdetr_ranked", "stretch")
