"""Output heads, by name: what a model's raw output means. One file each."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelError
from inference.found import Found

if TYPE_CHECKING:
    from inference.model import ModelInfo

HEADS = {
    "yolo": "inference.heads.yolo:YoloHead",
    "yolo_end2end": "inference.heads.yolo_end2end:YoloEnd2EndHead",
    "segment": "inference.heads.segment:SegmentHead",
    "pose": "inference.heads.pose:PoseHead",
    "obb": "inference.heads.obb:ObbHead",
    "yolox": "inference.heads.yolox:YoloxHead",
    "yolox_raw": "inference.heads.yolox:YoloxRawHead",
    "rtdetr": "inference.heads.detr:RtDetrHead",
    "rtdetr_ranked": "inference.heads.detr:RtDetrRankedHead",
    "rfdetr": "inference.heads.detr:RfDetrHead",
}

Outputs = Sequence[NDArray[np.float32]]
"""A model's raw outputs for one picture, in the file's order, without the batch dimension."""


class Head(Protocol):
    """Constructed as `Head(info, confidence, iou, class_ids, limit)`; raises ModelError when `info` says too little."""

    def classes(self, outputs: Outputs, height: int, width: int) -> int | None:
        """How many classes these outputs tell apart; None when they do not show it.

        Raises:
            ValueError: they are not of this head.
        """
        ...

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        """What is in one picture, `height` x `width` as the model saw it; `limit` of the best at most, best first."""
        ...


# Scores may be out of range by a rounding error of half precision.
SCORE_TOLERANCE = 1e-2


def check_scores(scores: NDArray[np.float32], mend: str = "export it with the sigmoid") -> None:
    """
    Raises:
        ValueError: these are no probabilities.
    """
    if scores.size and not (scores.min() >= -SCORE_TOLERANCE and scores.max() <= 1 + SCORE_TOLERANCE):
        raise ValueError(f"its scores lie between {scores.min():.3g} and {scores.max():.3g} instead of 0 and 1: {mend}")


def check_head(head: Head, info: ModelInfo, outputs: Outputs, height: int, width: int) -> None:
    """Compares what the model said of itself with what came out of it.

    Raises:
        ModelError: they contradict each other.
    """
    try:
        classes = head.classes(outputs, height, width)
    except ValueError as error:
        raise ModelError(f"{info.name} does not fit the head {info.head!r}: {error}") from None
    if classes is not None and classes != len(info.names):
        raise ModelError(
            f"{info.name} names {len(info.names)} classes, but its output has {classes}: mend the names in its sidecar "
            "or metadata"
        )


def load_head(info: ModelInfo, confidence: float, iou: float, class_ids: list[int] | None, limit: int) -> Head:
    """The head that the model names, reporting only `class_ids` (None: all)."""
    module, name = HEADS[info.head].split(":")
    head: Head = getattr(import_module(module), name)(info, confidence, iou, class_ids, limit)
    return head
