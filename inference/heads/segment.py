"""Ultralytics' instance segmentation heads: boxes as detection heads have them, each with a shape of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.found import Found
from inference.heads import Outputs, check_scores
from inference.heads.yolo import YoloHead
from inference.shapes import spans_of

if TYPE_CHECKING:
    from inference.model import ModelInfo


class SegmentHead(YoloHead):
    """Raw outputs float32 [4 + classes + m, anchors], boxes and scores as `YoloHead`'s and then coefficients, and
    [m, height / 4, width / 4], the prototypes that the coefficients mix into a shape (Bolya et al., 2019, YOLACT).

    As in Ultralytics' predictor, an object without a single pixel is not reported.
    """

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        super().__init__(info, confidence, iou, class_ids, limit)
        nothing = np.zeros((1, 1, 1), np.float32)
        spans_of(np.zeros((1, 1), np.float32), nothing, np.zeros((1, 4), np.float32), 4, 4)  # compiles it

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 2 or outputs[0].ndim != 2 or outputs[1].ndim != 3:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(
                f"segmentation outputs are [4 + classes + m, anchors] and [m, height, width], not {shapes}"
            )
        classes = int(outputs[0].shape[0]) - 4 - len(outputs[1])
        if classes < 1:
            raise ValueError(f"an output of {outputs[0].shape[0]} rows has none left for {len(outputs[1])} prototypes")
        check_scores(outputs[0][4 : 4 + classes])
        return classes

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        output, prototypes = outputs
        count = len(prototypes)
        rows, anchors = self._boxes(output, len(output) - 4 - count)
        coefficients: NDArray[np.float32] = np.ascontiguousarray(output[-count:, anchors].T)
        masks = spans_of(coefficients, prototypes, rows[:, :4], height, width)
        visible = np.diff(masks.ends, prepend=0) > 0
        return Found(rows, masks=masks) if visible.all() else Found(rows[visible], masks=masks.without_empty())
