"""Ultralytics' pose heads: boxes as detection heads have them, each with keypoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.errors import ModelError
from inference.found import Found
from inference.heads import Outputs, check_scores
from inference.heads.yolo import YoloHead

if TYPE_CHECKING:
    from inference.model import ModelInfo


class PoseHead(YoloHead):
    """Raw output float32 [4 + classes + K * D, anchors]: boxes and scores as `YoloHead`'s, then K times x, y in input
    pixels and, when D is 3, a confidence; without one it is told as 1."""

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        super().__init__(info, confidence, iou, class_ids, limit)
        if info.keypoints is None:
            raise ModelError(
                f"{info.name} does not say how many keypoints it has: write `keypoints: [17, 3]` into its sidecar"
            )
        self._points, self._values = info.keypoints

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        more = 4 + self._points * self._values
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[0] <= more:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"a pose output is [{more} + classes, anchors], not {shapes}")
        classes = int(outputs[0].shape[0]) - more
        check_scores(outputs[0][4 : 4 + classes])
        return classes

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        split = len(output) - self._points * self._values
        rows, anchors = self._boxes(output, split - 4)
        keypoints = np.ones((len(rows), self._points, 3), np.float32)
        keypoints[:, :, : self._values] = output[split:, anchors].T.reshape(len(rows), self._points, self._values)
        return Found(rows, keypoints=keypoints)
