"""What a head found in one picture, in the pixels of the model's input: boxes and, for some models, more of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""[N, 6]: x1, y1, x2, y2 in input pixels, score, class id; best first."""


@dataclass(frozen=True, slots=True)
class Spans:
    """The shapes of M objects as the vertical spans of pixels that they cover.

    Attributes:
        spans: uint16 [S, 3]: column, first row, row after the last; by mask, column and row.
        ends: int32 [M]: where among them each mask's spans end.
    """

    spans: NDArray[np.uint16]
    ends: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ends)

    def first(self, count: int) -> Spans:
        """The first `count` masks."""
        ends = self.ends[:count]
        return Spans(self.spans[: ends[-1] if count else 0], ends)

    def without_empty(self) -> Spans:
        """The masks that have a pixel."""
        return Spans(self.spans, self.ends[np.diff(self.ends, prepend=0) > 0])


@dataclass(frozen=True, slots=True)
class Found:
    """N objects; what there is beside their boxes belongs to the first M of them, and M is N until some is dropped.

    Attributes:
        rows: float32 [N, 6]: x1, y1, x2, y2 in input pixels, score, class id; best first.
        keypoints: float32 [M, K, 3]: x, y in input pixels, confidence; None: the model has none.
        corners: float32 [M, 4, 2]: x, y in input pixels of oriented boxes, one way round; None: the model has none.
        masks: M shapes in input pixels; None: the model has none.
        features: float16 [M, D], what each object looks like, rows of length 1; None: nobody wants them.
    """

    rows: Rows
    keypoints: NDArray[np.float32] | None = None
    corners: NDArray[np.float32] | None = None
    masks: Spans | None = None
    features: NDArray[np.float16] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether there are boxes only."""
        return self.keypoints is None and self.corners is None and self.masks is None and self.features is None

    @property
    def detailed(self) -> int:
        """M: of how many objects there is more than the box."""
        parts = (self.keypoints, self.corners, self.masks, self.features)
        return max(0 if part is None else len(part) for part in parts)

    def first(self, count: int) -> Found:
        """The same boxes, and the details of the first `count` objects only."""
        return Found(
            self.rows,
            None if self.keypoints is None else self.keypoints[:count],
            None if self.corners is None else self.corners[:count],
            None if self.masks is None else self.masks.first(count),
            None if self.features is None else self.features[:count],
        )

    def within(self, limit_bytes: int) -> Found:
        """The same boxes, and the details of as many of the best objects as take `limit_bytes` at most."""
        if self.is_plain:
            return self
        per_object = np.zeros(self.detailed, np.int64)
        for part in (self.keypoints, self.corners, self.features):
            if part is not None and len(part):
                per_object += part[0].nbytes
        if self.masks is not None:
            per_object += np.diff(self.masks.ends, prepend=0) * self.masks.spans.itemsize * 3 + self.masks.ends.itemsize
        fitting = int(np.searchsorted(np.cumsum(per_object), limit_bytes, side="right"))
        return self if fitting == self.detailed else self.first(fitting)


NOTHING = Found(np.zeros((0, 6), np.float32))
