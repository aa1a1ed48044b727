"""Ultralytics detection heads that need NMS: YOLOv8, 9, 11, 12 and their like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.heads import Outputs, Rows
from inference.nms import nms
from ingest.compiled import compiled_nogil


class YoloHead:
    """Raw output float32 [4 + classes, anchors]: centre x, centre y, width, height in input pixels, then scores."""

    def __init__(self, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        self._confidence = np.float32(confidence)
        self._iou = iou
        self._class_ids = None if class_ids is None else np.array(class_ids, np.float32)
        self._limit = limit
        self.decode([np.ones((5, 1), np.float32)], 32, 32)  # compiles it

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[0] < 5:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"a YOLO output is [4 + classes, anchors], not {shapes}")
        return int(outputs[0].shape[0]) - 4

    def decode(self, outputs: Outputs, height: int, width: int) -> Rows:
        (output,) = outputs
        rows, _ = strongest(output, len(output) - 4, self._confidence)
        if self._class_ids is not None:
            rows = rows[np.isin(rows[:, 5], self._class_ids)]
        kept: Rows = rows[nms(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), self._iou, self._limit)]
        return kept


@compiled_nogil
def strongest(
    output: NDArray[np.float32], classes: int, confidence: np.float32
) -> tuple[Rows, NDArray[np.intp]]:  # fmt: skip
    """The anchors whose best class scores above `confidence`, as boxes of that class, and which anchors they are.

    Args:
        output: [4 + classes or more, anchors], as the head's.
    """
    best = output[4].copy()
    for c in range(1, classes):
        scores = output[4 + c]
        for n in range(len(best)):
            best[n] = max(best[n], scores[n])
    anchors = np.flatnonzero(best > confidence)
    rows = np.empty((len(anchors), 6), np.float32)
    for n, anchor in enumerate(anchors):
        x, y = output[0, anchor], output[1, anchor]
        half_width, half_height = output[2, anchor] / np.float32(2), output[3, anchor] / np.float32(2)
        rows[n, 0], rows[n, 1], rows[n, 2], rows[n, 3] = (
            x - half_width,
            y - half_height,
            x + half_width,
            y + half_height,
        )
        rows[n, 4] = best[anchor]
        c = 0
        while output[4 + c, anchor] != best[anchor]:
            c += 1
        rows[n, 5] = c
    return rows, anchors
