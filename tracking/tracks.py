"""The contract of tracking: which boxes of a frame belong to which objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Tracks:
    """M confirmed tracks seen in one frame.

    Attributes:
        track_ids: int64 [M], unique within a stream's session, from 1.
        boxes: float32 [M, 4], xyxy in source-frame pixels, smoothed by the tracker.
        scores: float32 [M] in [0, 1].
        class_ids: int32 [M].
        detection_rows: int32 [M], the row in the frame's Detections, -1 when coasting.
    """

    track_ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    detection_rows: NDArray[np.int32]

    def __post_init__(self) -> None:
        count = len(self.track_ids)
        _check("track_ids", self.track_ids, (count,), np.int64)
        _check("boxes", self.boxes, (count, 4), np.float32)
        _check("scores", self.scores, (count,), np.float32)
        _check("class_ids", self.class_ids, (count,), np.int32)
        _check("detection_rows", self.detection_rows, (count,), np.int32)

    @classmethod
    def empty(cls) -> Tracks:
        return cls(
            np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32),
            np.zeros(0, np.int32),
        )  # fmt: skip

    def moved_to(self, boxes: NDArray[np.float32]) -> Tracks:
        """The same tracks elsewhere, where nobody has detected them."""
        return replace(self, boxes=boxes, detection_rows=np.full(len(self), -1, np.int32))

    def shown(self, width: int, height: int) -> NDArray[np.float32]:
        """Which part of each box is within the picture, float32 [M]."""
        inside = self.boxes.clip(0, np.array([width, height] * 2, np.float32))
        areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (inside, self.boxes)]
        return np.asarray(areas[0] / np.maximum(areas[1], 1e-6), np.float32)

    def only(self, rows: NDArray[np.bool_]) -> Tracks:
        """Those of the rows, bool [M]."""
        if rows.all():
            return self
        return Tracks(
            self.track_ids[rows], self.boxes[rows], self.scores[rows], self.class_ids[rows], self.detection_rows[rows]
        )

    def joined(self, others: Tracks) -> Tracks:
        """These, and others after them."""
        if not len(others):
            return self
        return Tracks(
            np.concatenate([self.track_ids, others.track_ids]), np.concatenate([self.boxes, others.boxes]),
            np.concatenate([self.scores, others.scores]), np.concatenate([self.class_ids, others.class_ids]),
            np.concatenate([self.detection_rows, others.detection_rows]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.track_ids)


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype.__name__} {list(shape)}, not {array.dtype} {list(array.shape)}")
