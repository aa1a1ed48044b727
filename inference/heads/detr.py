"""DETR's family: RT-DETR as Ultralytics exports it, and RF-DETR. A set of boxes, one per object, without NMS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.found import Found
from inference.heads import Outputs, check_scores

if TYPE_CHECKING:
    from inference.model import ModelInfo


class _SetHead:
    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        del info, iou  # the model was trained to give one box per object
        self._confidence = confidence
        self._class_ids = class_ids
        self._limit = limit

    def _found(
        self, boxes: NDArray[np.float32], best: NDArray[np.float32], class_ids: NDArray[Any], height: int, width: int
    ) -> Found:
        """From centre x, centre y, width, height as fractions of the input [N, 4], scores [N] and classes [N]."""
        wanted = best > self._confidence
        if self._class_ids is not None:
            wanted &= np.isin(class_ids, self._class_ids)
        chosen = np.flatnonzero(wanted)
        chosen = chosen[np.argsort(-best[chosen], kind="stable")][: self._limit]
        scaled = boxes[chosen] * np.array([width, height, width, height], np.float32)
        centre, half = scaled[:, :2], scaled[:, 2:] * np.float32(0.5)
        return Found(
            np.column_stack([centre - half, centre + half, best[chosen], class_ids[chosen]]).astype(np.float32)
        )


class RtDetrHead(_SetHead):
    """Raw output float32 [300, 4 + classes]: boxes as fractions of the input, then scores."""

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        (output,) = outputs
        if output.ndim != 2 or output.shape[1] < 5:
            raise ValueError(f"an RT-DETR output is [queries, 4 + classes], not {list(output.shape)}")
        check_scores(output[:, 4:])
        return int(output.shape[1]) - 4

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        return self._found(output[:, :4], output[:, 4:].max(axis=1), output[:, 4:].argmax(axis=1), height, width)


class RtDetrRankedHead(_SetHead):
    """Raw output float32 [300, 6]: boxes as fractions of the input, score, class id; as Ultralytics since 8.4 has it.

    A query may be there more than once, with a class each time.
    """

    def classes(self, outputs: Outputs, height: int, width: int) -> None:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[1] != 6:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"a ranked RT-DETR output is [queries, 6], not {shapes}")
        check_scores(outputs[0][:, 4])

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        return self._found(output[:, :4], output[:, 4], output[:, 5].astype(np.int32), height, width)


class RfDetrHead(_SetHead):
    """Raw outputs float32 [queries, 4], boxes as fractions of the input, and [queries, classes], before the sigmoid."""

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 2 or outputs[0].shape != (len(outputs[1]), 4):
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"RF-DETR outputs are [queries, 4] and [queries, classes], not {shapes}")
        return int(outputs[1].shape[1])

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        boxes, logits = outputs
        scores = np.float32(1) / (np.float32(1) + np.exp(-logits))
        return self._found(boxes, scores.max(axis=1), scores.argmax(axis=1), height, width)
