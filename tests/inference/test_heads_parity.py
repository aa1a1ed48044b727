"""From the same raw output our heads and Ultralytics' predictors make the same objects.

There are no trained weights of these tasks here: the networks' weights are random, made to differ more between places
than they do at first, and the threshold lets through a hundred or so anchors of photographs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from inference.detections import Detections
from inference.heads import check_head, load_head
from inference.letterbox import Letterbox
from inference.model import ModelInfo, describe
from ingest.scene import photo_path
from tests.untrained import liven

IMAGE_SIZE = 320
CANDIDATES = 150
IOU = 0.6
ARCHITECTURES = [
    "yolov8n-seg.yaml", "yolo11n-seg.yaml", "yolov8n-pose.yaml", "yolo11n-pose.yaml", "yolov8n-obb.yaml",
    "yolo11n-obb.yaml",
    "yolov8n-rtdetr.yaml",
]  # fmt: skip


class Theirs:
    """An untrained model of Ultralytics', its raw outputs and what its own predictor makes of them."""

    def __init__(self, architecture: str) -> None:
        import torch
        from ultralytics import RTDETR, YOLO

        torch.manual_seed(0)
        self.is_detr = "rtdetr" in architecture
        self.model = RTDETR(architecture) if self.is_detr else YOLO(architecture)
        liven(self.model.model)
        self.raw: list[NDArray[np.float32]] = []
        self.confidence = 0.9
        self.results(photo("bus.jpg"))
        predictor: Any = self.model.predictor
        postprocess = predictor.postprocess

        def noting(preds: Any, *more: Any, **named: Any) -> Any:
            outputs = preds[0] if isinstance(preds[0], tuple) else (preds[0],)
            self.raw = [output[0].numpy().copy() for output in outputs]
            scores = self.raw[0][:, 4] if self.is_detr else self.raw[0][4 : 4 + len(self.model.names)].max(axis=0)
            predictor.args.conf = self.confidence = float(np.sort(scores)[-CANDIDATES])
            return postprocess(preds, *more, **named)

        predictor.postprocess = noting

    def results(self, picture: NDArray[np.uint8]) -> Any:
        return self.model.predict(
            picture, imgsz=IMAGE_SIZE, conf=self.confidence, iou=IOU, verbose=False, device="cpu", max_det=300
        )[0]

    @property
    def info(self) -> ModelInfo:
        metadata = {"task": self.model.task, "names": str(self.model.names), "stride": "32"}
        metadata["head"] = type(self.model.model.model[-1]).__name__
        if self.model.task == "pose":
            metadata["kpt_shape"] = str(self.model.model.model[-1].kpt_shape)
        said = describe(Path("toy.pt"), metadata)
        return ModelInfo(
            "toy", "0" * 16, said.names, said.head, said.input, IMAGE_SIZE, "none", "cpu", "fp32", said.keypoints
        )


def photo(name: str) -> NDArray[np.uint8]:
    picture = cv2.imread(str(photo_path(name)))
    assert picture is not None
    return picture  # type: ignore[return-value]


def ours(theirs: Theirs, picture: NDArray[np.uint8]) -> tuple[Detections, Letterbox]:
    """What our head makes of their raw output."""
    letterbox = Letterbox.fit(picture.shape[1], picture.shape[0], IMAGE_SIZE, theirs.info.input)
    head = load_head(theirs.info, theirs.confidence, IOU, None, 300)
    check_head(head, theirs.info, theirs.raw, letterbox.height, letterbox.width)
    found = head.decode(theirs.raw, letterbox.height, letterbox.width)
    return Detections.in_source(found, letterbox), letterbox


def same_boxes(found: Detections, boxes: Any) -> None:
    assert len(found) == len(boxes) > 15
    np.testing.assert_allclose(found.scores, boxes.conf.numpy(), atol=1e-6)
    assert found.class_ids.tolist() == boxes.cls.int().tolist()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def theirs(request: pytest.FixtureRequest) -> Theirs:
    return Theirs(request.param)


@pytest.mark.parametrize("name", ["bus.jpg", "zidane.jpg"])
def test_the_same_objects_come_from_the_same_output(theirs: Theirs, name: str) -> None:
    picture = photo(name)
    expected = theirs.results(picture)
    found, letterbox = ours(theirs, picture)
    limit = np.array([*letterbox.source, *letterbox.source])
    if expected.obb is not None:
        same_boxes(found, expected.obb)
        assert found.corners is not None
        np.testing.assert_allclose(found.corners, expected.obb.xyxyxyxy.numpy(), atol=0.01)
        np.testing.assert_allclose(found.boxes, expected.obb.xyxy.numpy().clip(0, limit), atol=0.01)
        return
    same_boxes(found, expected.boxes)
    np.testing.assert_allclose(found.boxes, expected.boxes.xyxy.numpy().clip(0, limit), atol=0.01)
    if expected.keypoints is not None:
        assert found.keypoints is not None
        np.testing.assert_allclose(found.keypoints, expected.keypoints.data.numpy(), atol=0.01)
    if expected.masks is not None:
        assert found.masks is not None
        same_masks(found, expected.masks.data.numpy().astype(bool), letterbox)


def same_masks(found: Detections, expected: NDArray[np.bool_], letterbox: Letterbox) -> None:
    """Theirs are in input pixels; ours, in source pixels, are compared where the input's pixels have their centres."""
    inner = expected[
        :, letterbox.top : letterbox.top + letterbox.size[1], letterbox.left : letterbox.left + letterbox.size[0]
    ]
    columns = ((np.arange(letterbox.size[0]) + 0.5) * letterbox.source[0] / letterbox.size[0]).astype(int)
    lines = ((np.arange(letterbox.size[1]) + 0.5) * letterbox.source[1] / letterbox.size[1]).astype(int)
    assert found.masks is not None
    for mask, other in zip(found.masks, inner, strict=True):
        assert mask is not None
        mine = mask.decode()[lines][:, columns]
        union = (mine | other).sum()
        assert union == 0 or (mine & other).sum() / union >= 0.99
