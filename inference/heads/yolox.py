"""YOLOX: anchor-free boxes as offsets within the cells of three grids, with an objectness of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from inference.found import Found
from inference.heads import Outputs, check_scores
from inference.nms import nms

if TYPE_CHECKING:
    from inference.model import ModelInfo

STRIDES = (8, 16, 32)


class YoloxHead:
    """Raw output float32 [cells, 5 + classes], grid by grid, row by row: x, y offset and log width, height in strides,
    objectness, then scores; the last two after the sigmoid (Ge et al., 2021)."""

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        del info  # its output says how many classes there are
        self._confidence = confidence
        self._iou = iou
        self._class_ids = class_ids
        self._limit = limit
        self._grids: dict[tuple[int, int], NDArray[np.float32]] = {}

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        (output,) = outputs
        cells = len(self._grid(height, width))
        if output.ndim != 2 or len(output) != cells:
            raise ValueError(f"a YOLOX output at {width}x{height} is [{cells}, 5 + classes], not {list(output.shape)}")
        self._check(output[:, 4:])
        return int(output.shape[1]) - 5

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        best = self._probability(output[:, 4]) * self._probability(output[:, 5:].max(axis=1))
        candidates = np.flatnonzero(best > self._confidence)
        class_ids = output[candidates, 5:].argmax(axis=1).astype(np.int32)
        if self._class_ids is not None:
            wanted = np.isin(class_ids, self._class_ids)
            candidates, class_ids = candidates[wanted], class_ids[wanted]
        raw, grid = output[candidates], self._grid(height, width)[candidates]
        stride = grid[:, 2:]
        centre, half = (raw[:, :2] + grid[:, :2]) * stride, np.exp(raw[:, 2:4]) * stride * np.float32(0.5)
        boxes: NDArray[np.float32] = np.hstack([centre - half, centre + half])
        kept = nms(boxes, best[candidates], class_ids, self._iou, self._limit)
        rows = np.column_stack([boxes[kept], best[candidates][kept], class_ids[kept]])
        return Found(rows.astype(np.float32, copy=False))

    def _check(self, scores: NDArray[np.float32]) -> None:
        check_scores(scores, "say `head: yolox_raw`")

    def _probability(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return scores

    def _grid(self, height: int, width: int) -> NDArray[np.float32]:
        """float32 [cells, 3]: each cell's column, row and stride."""
        if (height, width) not in self._grids:
            parts = []
            for stride in STRIDES:
                rows, columns = np.mgrid[: height // stride, : width // stride]
                strides = np.full(rows.size, stride)
                parts.append(np.column_stack([columns.ravel(), rows.ravel(), strides]))
            self._grids[height, width] = np.concatenate(parts).astype(np.float32)
        return self._grids[height, width]


class YoloxRawHead(YoloxHead):
    """The same, before the sigmoid."""

    def _check(self, scores: NDArray[np.float32]) -> None:
        if scores.size and scores.min() >= 0:
            raise ValueError("none of its scores is negative, so they are past the sigmoid: say `head: yolox`")

    def _probability(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = expit(scores)
        return probabilities
