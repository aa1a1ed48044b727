"""Ultralytics' NMS-free detection heads: YOLO26 and YOLOv10."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.found import Found
from inference.heads import Outputs

if TYPE_CHECKING:
    from inference.model import ModelInfo


class YoloEnd2EndHead:
    """Raw output float32 [candidates, 6]: x1, y1, x2, y2 in input pixels, score, class id, best first."""

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        del info, iou  # the model was trained to give one box per object
        self._confidence = confidence
        self._class_ids = class_ids
        self._limit = limit

    def classes(self, outputs: Outputs, height: int, width: int) -> None:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[1] != 6:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"an NMS-free YOLO output is [candidates, 6], not {shapes}")

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        wanted = output[:, 4] > self._confidence
        if self._class_ids is not None:
            wanted &= np.isin(output[:, 5].astype(np.int32), self._class_ids)
        return Found(output[wanted][: self._limit])
