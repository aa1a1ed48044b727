"""Output heads, by name: what a model's raw output means. One file each."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from inference.model import ModelInfo

HEADS = {
    "yolo": "inference.heads.yolo:YoloHead",
    "yolo_end2end": "inference.heads.yolo_end2end:YoloEnd2EndHead",
}

Rows = NDArray[np.float32]
"""[N, 6]: x1, y1, x2, y2 in input pixels, score, class id."""


Outputs = Sequence[NDArray[np.float32]]
"""A model's raw outputs for one picture, in the file's order, without the batch dimension."""


class Head(Protocol):
    def decode(self, outputs: Outputs, height: int, width: int) -> Rows:
        """The boxes of one picture, `height` x `width` as the model saw it."""
        ...


def load_head(info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> Head:
    """The head that the model names, reporting only `class_ids` (None: all)."""
    module, name = HEADS[info.head].split(":")
    head: Head = getattr(import_module(module), name)(confidence, iou, class_ids, limit)
    return head
