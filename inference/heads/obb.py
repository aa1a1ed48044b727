"""Ultralytics' oriented-box heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.found import Found
from inference.heads import Outputs, check_scores
from inference.heads.yolo import YoloHead
from inference.rotated import corners_of, rotated_nms

if TYPE_CHECKING:
    from inference.model import ModelInfo


class ObbHead(YoloHead):
    """Raw output float32 [4 + classes + 1, anchors]: centre x, centre y, width, height in input pixels, scores, and the
    angle from the x axis to the width, radians, clockwise as seen. A row's box is the upright one around the corners.
    """

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        super().__init__(info, confidence, iou, class_ids, limit)
        rotated_nms(np.ones((1, 5), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), iou, 1)  # compiles it

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[0] < 6:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"an oriented-box output is [4 + classes + 1, anchors], not {shapes}")
        check_scores(outputs[0][4:-1])
        return int(outputs[0].shape[0]) - 5

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        candidates, anchors = self._candidates(output, len(output) - 5)
        boxes: NDArray[np.float32] = np.column_stack([output[:4, anchors].T, output[-1, anchors]])
        best, class_ids = candidates[:, 4], candidates[:, 5].astype(np.int32)
        kept = rotated_nms(boxes, best, class_ids, self._iou, self._limit)
        corners = corners_of(boxes[kept])
        upright = np.hstack([corners.min(axis=1), corners.max(axis=1)])
        rows = np.column_stack([upright, best[kept], class_ids[kept]]).astype(np.float32, copy=False)
        return Found(rows, corners=corners)
