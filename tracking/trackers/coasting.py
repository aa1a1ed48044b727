"""Where tracks have moved by now, for trackers that do not say so themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.motion import boxes_of, correct, predict, start
from tracking.tracks import Tracks


class Coasting:
    """Learns how the tracks that a tracker tells move. Times are in nominal frame intervals."""

    def __init__(self) -> None:
        # Row n is one track.
        self._ids = np.zeros(0, np.int64)
        self._states = np.zeros((0, 5, 4))

    def saw(self, tracks: Tracks, elapsed: float) -> None:
        """The tracks of a frame, and how long after the last one it was."""
        boxes = tracks.boxes.astype(np.float64)
        states = start(boxes)
        _, now, before = np.intersect1d(tracks.track_ids, self._ids, assume_unique=True, return_indices=True)
        if len(now):
            known, rows = self._states[before], np.arange(len(now))
            predict(known, rows, float(elapsed))
            correct(known, rows, boxes[now])
            states[now] = known
        self._ids, self._states = tracks.track_ids, states

    def boxes(self, tracks: Tracks, elapsed: float) -> NDArray[np.float32]:
        """Where the tracks of the last frame are `elapsed` later; float32 [M, 4]."""
        moved = self._states.copy()
        predict(moved, np.arange(len(moved)), max(0.0, float(elapsed)))
        return (tracks.boxes + boxes_of(moved) - boxes_of(self._states)).astype(np.float32)
