"""The contract of inference: what was found in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import supervision as sv


@dataclass(frozen=True, slots=True)
class Detections:
    """N boxes of one frame.

    Attributes:
        boxes: float32 [N, 4], xyxy in source-frame pixels, within the frame.
        scores: float32 [N] in [0, 1].
        class_ids: int32 [N], indices into the model's class names.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]

    def __post_init__(self) -> None:
        _check("boxes", self.boxes, (len(self.boxes), 4), np.float32)
        _check("scores", self.scores, (len(self.boxes),), np.float32)
        _check("class_ids", self.class_ids, (len(self.boxes),), np.int32)

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.boxes)

    def to_supervision(self) -> sv.Detections:
        """The same boxes for the ecosystem's annotators and zones."""
        import supervision as sv

        return sv.Detections(xyxy=self.boxes, confidence=self.scores, class_id=self.class_ids)


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype.__name__} {list(shape)}, not {array.dtype} {list(array.shape)}")
