"""Ultralytics detection heads that need NMS: YOLOv8, 9, 11, 12 and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.found import Found, Rows
from inference.heads import Outputs, check_scores
from inference.nms import nms

if TYPE_CHECKING:
    from inference.model import ModelInfo


class YoloHead:
    """Raw output float32 [4 + classes, anchors]: centre x, centre y, width, height in input pixels, then scores."""

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        del info  # its output says how many classes there are
        self._confidence = confidence
        self._iou = iou
        self._class_ids = class_ids
        self._limit = limit
        nms(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), iou, 1)  # compiles it

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[0] < 5:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"a YOLO output is [4 + classes, anchors], not {shapes}")
        check_scores(outputs[0][4:])
        return int(outputs[0].shape[0]) - 4

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        return Found(self._boxes(output[:4], output[4:])[0])

    def _boxes(self, places: NDArray[np.float32], scores: NDArray[np.float32]) -> tuple[Rows, NDArray[np.intp]]:
        """What to report, and which anchors say so, from `places` [4, anchors] and `scores` [classes, anchors]."""
        candidates, best, class_ids = self._candidates(scores)
        centre, half = places[:2, candidates].T, places[2:4, candidates].T * np.float32(0.5)
        boxes: NDArray[np.float32] = np.hstack([centre - half, centre + half])
        kept = nms(boxes, best, class_ids, self._iou, self._limit)
        rows = np.column_stack([boxes[kept], best[kept], class_ids[kept]]).astype(np.float32, copy=False)
        return rows, candidates[kept]

    def _candidates(
        self, scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.int32]]:
        """The anchors that are good enough and of a wanted class, their scores and classes."""
        best = scores.max(axis=0)
        candidates = np.flatnonzero(best > self._confidence)
        class_ids = scores[:, candidates].argmax(axis=0).astype(np.int32)
        if self._class_ids is not None:
            wanted = np.isin(class_ids, self._class_ids)
            candidates, class_ids = candidates[wanted], class_ids[wanted]
        return candidates, best[candidates], class_ids
