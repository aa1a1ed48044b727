"""The contract of inference: what was found in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference import masks
from inference.features import unit
from inference.found import Found
from inference.letterbox import Letterbox
from inference.masks import Mask

if TYPE_CHECKING:
    import supervision as sv


@dataclass(frozen=True, slots=True)
class Detections:
    """N boxes of one frame.

    Attributes:
        boxes: float32 [N, 4], xyxy in source-frame pixels, within the frame.
        scores: float32 [N] in [0, 1].
        class_ids: int32 [N], indices into the model's class names.
        keypoints: float32 [N, K, 3]: x, y in source-frame pixels, within the frame, and confidence; None when the model
            has none. NaN for an object whose details were dropped (`vigil_details_dropped_total`).
        corners: float32 [N, 4, 2]: x, y of oriented boxes in source-frame pixels, one way round; they may lie outside
            the frame. None when the model has none, NaN where they were dropped. `boxes` are the upright boxes around.
        masks: N of them over the source frame, None where one was dropped; None when the model has none.
        features: float32 [N, D], what each object looks like, rows of length 1: the more alike, the larger their
            product. Zeros for an object of which it is not known. None when nobody wants them, or there was no time.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    keypoints: NDArray[np.float32] | None = None
    corners: NDArray[np.float32] | None = None
    masks: tuple[Mask | None, ...] | None = None
    features: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        _check("boxes", self.boxes, (len(self.boxes), 4), np.float32)
        _check("scores", self.scores, (len(self.boxes),), np.float32)
        _check("class_ids", self.class_ids, (len(self.boxes),), np.int32)
        if self.keypoints is not None:
            _check("keypoints", self.keypoints, (len(self.boxes), *self.keypoints.shape[1:2], 3), np.float32)
        if self.corners is not None:
            _check("corners", self.corners, (len(self.boxes), 4, 2), np.float32)
        if self.features is not None:
            _check("features", self.features, (len(self.boxes), *self.features.shape[1:2]), np.float32)
        if self.masks is not None and len(self.masks) != len(self.boxes):
            raise ValueError(f"masks must be {len(self.boxes)}, not {len(self.masks)}")

    @classmethod
    def empty(cls) -> Detections:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))

    @classmethod
    def in_source(cls, found: Found, letterbox: Letterbox) -> Detections:
        """What a head found in a model's input, in the pixels of the frame that was fitted into it."""
        rows = found.rows
        boxes = letterbox.to_source(rows[:, :4])
        # Always a copy: a single row would stay read-only, which is another type to what is compiled for it.
        scores, class_ids = rows[:, 4].copy(), rows[:, 5].astype(np.int32)
        if found.is_plain:
            return cls(boxes, scores, class_ids)
        keypoints = corners = shapes = features = None
        if found.keypoints is not None:
            points = letterbox.points_to_source(found.keypoints[:, :, :2])
            points = points.clip(0, np.array(letterbox.source, np.float32))
            keypoints = _filled_up(np.concatenate([points, found.keypoints[:, :, 2:]], axis=2), len(rows))
        if found.corners is not None:
            corners = _filled_up(letterbox.points_to_source(found.corners), len(rows))
        if found.masks is not None:
            shapes = (*masks.to_source(found.masks, letterbox), *[None] * (len(rows) - len(found.masks)))
        if found.features is not None:
            features = np.zeros((len(rows), found.features.shape[1]), np.float32)
            features[: len(found.features)] = unit(found.features.astype(np.float32))
        return cls(boxes, scores, class_ids, keypoints, corners, shapes, features)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to tell but boxes."""
        return self.keypoints is None and self.corners is None and self.masks is None

    def to_supervision(self) -> sv.Detections:
        """The same for the ecosystem's annotators and zones.

        Masks are bool [N, height, width], empty where they were dropped; corners and keypoints are
        `data["xyxyxyxy"]` and `data["keypoints"]`.
        """
        import supervision as sv

        details = {"xyxyxyxy": self.corners, "keypoints": self.keypoints}
        return sv.Detections(
            xyxy=self.boxes,
            confidence=self.scores,
            class_id=self.class_ids,
            mask=self._decoded_masks(),
            data={name: part for name, part in details.items() if part is not None},
        )

    def _decoded_masks(self) -> NDArray[np.bool_] | None:
        known = [mask for mask in self.masks or () if mask is not None]
        if self.masks is None or not known:
            return None
        decoded = np.zeros((len(self.masks), known[0].height, known[0].width), np.bool_)
        for n, mask in enumerate(self.masks):
            if mask is not None:
                decoded[n] = mask.decode()
        return decoded


def _filled_up(part: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """`part` for `count` objects: NaN for those that have none."""
    missing = np.full((count - len(part), *part.shape[1:]), np.nan, np.float32)
    return np.concatenate([part, missing]).astype(np.float32, copy=False)


def _check(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype.__name__} {list(shape)}, not {array.dtype} {list(array.shape)}")
