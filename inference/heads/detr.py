"""DETR's family: RT-DETR as Ultralytics exports it, and RF-DETR. A set of boxes, one per object, without NMS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.heads import Outputs, Rows


class _SetHead:
    def __init__(self, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        del iou  # the model was trained to give one box per object
        self._confidence = confidence
        self._class_ids = class_ids
        self._limit = limit

    def _rows(self, boxes: NDArray[np.float32], scores: NDArray[np.float32], height: int, width: int) -> Rows:
        """From centre x, centre y, width, height as fractions of the input [N, 4] and scores [N, classes]."""
        best, class_ids = scores.max(axis=1), scores.argmax(axis=1)
        wanted = best > self._confidence
        if self._class_ids is not None:
            wanted &= np.isin(class_ids, self._class_ids)
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.argsort(-best[chosen], kind="stable")][: self._limit]
        scaled = boxes[chosen] * np.array([width, height, width, height], np.float32)
        centre, half = scaled[:, :2], scaled[:, 2:] * np.float32(0.5)
        return np.column_stack([centre - half, centre + half, best[chosen], class_ids[chosen]]).astype(np.float32)


class RtDetrHead(_SetHead):
    """Raw output float32 [300, 4 + classes]: boxes as fractions of the input, then scores."""

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        (output,) = outputs
        if output.ndim != 2 or output.shape[1] < 5:
            raise ValueError(f"an RT-DETR output is [queries, 4 + classes], not {list(output.shape)}")
        return int(output.shape[1]) - 4

    def decode(self, outputs: Outputs, height: int, width: int) -> Rows:
        (output,) = outputs
        return self._rows(output[:, :4], output[:, 4:], height, width)


class RfDetrHead(_SetHead):
    """Raw outputs float32 [queries, 4], boxes as fractions of the input, and [queries, classes], before the sigmoid."""

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 2 or outputs[0].shape != (len(outputs[1]), 4):
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"RF-DETR outputs are [queries, 4] and [queries, classes], not {shapes}")
        return int(outputs[1].shape[1])

    def decode(self, outputs: Outputs, height: int, width: int) -> Rows:
        boxes, logits = outputs
        return self._rows(boxes, np.float32(1) / (np.float32(1) + np.exp(-logits)), height, width)
