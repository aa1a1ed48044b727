"""The contract of tracking: which boxes of a frame belong to which objects."""

from __future__ import annotations

from dataclasses import dataclass
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

    def __len__(self) -> int:
        return len(self.track_ids)


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype.__name__} {list(shape)}, not {array.dtype} {list(array.shape)}")
