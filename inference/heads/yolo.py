"""Ultralytics detection heads that need NMS: YOLOv8, 9, 11, 12 and their like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.heads import Outputs, Rows
from inference.nms import nms


class YoloHead:
    """Raw output float32 [4 + classes, anchors]: centre x, centre y, width, height in input pixels, then scores."""

    def __init__(self, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        self._confidence = confidence
        self._iou = iou
        self._class_ids = class_ids
        self._limit = limit
        nms(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), iou, 1)  # compiles it

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[0] < 5:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"a YOLO output is [4 + classes, anchors], not {shapes}")
        return int(outputs[0].shape[0]) - 4

    def decode(self, outputs: Outputs, height: int, width: int) -> Rows:
        (output,) = outputs
        scores = output[4:]
        best = scores.max(axis=0)
        candidates = np.flatnonzero(best > self._confidence)
        class_ids = scores[:, candidates].argmax(axis=0).astype(np.int32)
        if self._class_ids is not None:
            wanted = np.isin(class_ids, self._class_ids)
            candidates, class_ids = candidates[wanted], class_ids[wanted]
        centre, half = output[:2, candidates].T, output[2:4, candidates].T * np.float32(0.5)
        boxes: NDArray[np.float32] = np.hstack([centre - half, centre + half])
        kept = nms(boxes, best[candidates], class_ids, self._iou, self._limit)
        return np.column_stack([boxes[kept], best[candidates][kept], class_ids[kept]]).astype(np.float32, copy=False)
