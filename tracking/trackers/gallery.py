"""What one object has looked like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


class Gallery:
    """The last `size` features of an object, rows of length 1; those of another model make it forget."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: Features = np.zeros((0, 0), np.float32)
        self._added = 0

    def add(self, feature: Features) -> None:
        """Float32 [D]; the oldest one gives way. Zeros say nothing, and are not kept."""
        if not feature.any():
            return
        if self._added and self._rows.shape[1] != len(feature):
            self._rows, self._added = np.zeros((0, 0), np.float32), 0
        if self._added >= len(self._rows) and len(self._rows) < self._size:
            rows = np.zeros((min(max(4, 2 * len(self._rows)), self._size), len(feature)), np.float32)
            if self._added:
                rows[: self._added] = self._rows
            self._rows = rows
        self._rows[self._added % len(self._rows)] = feature
        self._added += 1

    def distances(self, features: Features) -> Features:
        """The least of 1 - cosine, for each row of `features` [N, D]: float32 [N]; 1 where nothing is remembered."""
        if not self._added or self._rows.shape[1] != features.shape[1]:
            return np.ones(len(features), np.float32)
        remembered = self._rows[: self._added]
        return 1 - (features @ remembered.T).max(axis=1)  # type: ignore[no-any-return]
