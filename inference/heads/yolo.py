"""Ultralytics detection heads that need NMS: YOLOv8, 9, 11, 12 and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.found import Found, Rows
from inference.heads import Outputs, check_scores
from inference.nms import nms
from ingest.compiled import compiled_nogil

if TYPE_CHECKING:
    from inference.model import ModelInfo


class YoloHead:
    """Raw output float32 [4 + classes, anchors]: centre x, centre y, width, height in input pixels, then scores."""

    def __init__(self, info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> None:
        del info  # its output says how many classes there are
        self._confidence = np.float32(confidence)
        self._iou = iou
        self._class_ids = None if class_ids is None else np.array(class_ids, np.float32)
        self._limit = limit
        YoloHead.decode(self, [np.ones((5, 1), np.float32)], 32, 32)  # compiles it

    def classes(self, outputs: Outputs, height: int, width: int) -> int:
        if len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[0] < 5:
            shapes = [list(output.shape) for output in outputs]
            raise ValueError(f"a YOLO output is [4 + classes, anchors], not {shapes}")
        check_scores(outputs[0][4:])
        return int(outputs[0].shape[0]) - 4

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        (output,) = outputs
        return Found(self._boxes(output, len(output) - 4)[0])

    def _boxes(self, output: NDArray[np.float32], classes: int) -> tuple[Rows, NDArray[np.intp]]:
        """What to report, and which anchors say so; the output may go on after the scores of its `classes`."""
        rows, anchors = self._candidates(output, classes)
        kept = nms(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), self._iou, self._limit)
        return rows[kept], anchors[kept]

    def _candidates(self, output: NDArray[np.float32], classes: int) -> tuple[Rows, NDArray[np.intp]]:
        """As `_boxes`, with all that is good enough and of a wanted class."""
        rows, anchors = strongest(output, classes, self._confidence)
        if self._class_ids is not None:
            wanted = np.isin(rows[:, 5], self._class_ids)
            rows, anchors = rows[wanted], anchors[wanted]
        return rows, anchors


def warm_up() -> None:
    """Compiles what finds the boxes, or loads it compiled."""
    rows, _ = strongest(np.zeros((5, 1), np.float32), 1, np.float32(0))
    nms(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), 0.5, 1)


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
