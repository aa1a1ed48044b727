"""Follows tracks by what they look like, through frames that the detector is not asked about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.frame import Frame
from ingest.patches import Patches
from tracking.tracks import Tracks

# A track is where it looks at least so much like itself; less than the second, what it looks like is learnt anew there.
LEAST_LIKE, RENEWED_LIKE = 0.75, 0.88
# One that the detector fails to see is shown for so many seconds more where it looks so much like itself, as long as
# this part of it is in the picture.
KEPT_LIKE, KEPT_S, KEPT_SHOWN = 0.85, 0.3, 0.9

NOBODY = Tracks.empty()


class Pursuit:
    """Of one session: from each analysed frame through those that follow it, in order."""

    def __init__(self) -> None:
        self._kept = NOBODY
        self._began: Frame | None = None
        self._patches: Patches | None = None  # taken when first needed: most analysed frames follow upon one another
        self._all = NOBODY
        self._likeness = np.zeros(0, np.float32)
        self._unseen: dict[int, int] = {}  # since when, ns
        self._boxes = NOBODY.boxes
        self._moved = self._coasted = self._renewed = self._none(0)  # pixels right and down since they were seen
        self._speeds = self._none(0)  # of those kept

    def begin(self, frame: Frame, seen: Tracks) -> Tracks:
        """What the detector saw in a frame; gives these and those that are kept, after them."""
        elapsed_s = (frame.pts_ns - self._began.pts_ns) / NS if self._began is not None else 0.0
        stays = self._stays(frame, seen) if self.follows else np.zeros(len(self._all), np.bool_)
        self._kept = self._all.only(stays)
        self._speeds = (self._moved[stays] if stays.any() else self._none(0)) / np.float32(max(elapsed_s, 1e-3))
        kept = set(self._kept.track_ids.tolist())
        self._unseen = {track_id: since for track_id, since in self._unseen.items() if track_id in kept}
        self._began, self._patches = frame, None
        self._all = seen.joined(self._kept)
        self._boxes = self._all.boxes
        self._moved, self._coasted, self._renewed = (self._none(len(self._all)) for _ in range(3))
        self._likeness = np.ones(len(self._all), np.float32)
        return self._all

    def follow(self, frame: Frame, coasting: Tracks) -> Tracks:
        """The tracks of the last analysed frame and those kept as they are in this one.

        `coasting`: where the tracker thinks the former to be; where they do not look like themselves they move as that
        says.
        """
        count = len(coasting)
        if self._began is None or not np.array_equal(coasting.track_ids, self._all.track_ids[:count]):
            return coasting  # nobody has been seen yet; or a tracker of the user's own moves others than it told
        if not len(self._all):
            return coasting
        if self._patches is None:
            self._patches = Patches(self._began, self._boxes)
        elapsed_s = np.float32((frame.pts_ns - self._began.pts_ns) / NS)
        coasted = np.concatenate([
            (coasting.boxes - self._boxes[:count]).reshape(-1, 2, 2).mean(1), self._speeds * elapsed_s,
        ]).astype(np.float32)  # fmt: skip
        guess = self._moved + coasted - self._coasted
        found, self._likeness = self._patches.find(frame, guess - self._renewed)
        is_like = self._likeness >= LEAST_LIKE
        self._moved = np.where(is_like[:, None], found + self._renewed, guess)
        self._coasted = coasted
        boxes = self._boxes + np.hstack([self._moved, self._moved])
        changed = is_like & (self._likeness < RENEWED_LIKE)
        if changed.any():
            self._patches.renew(frame, boxes, changed)
            self._renewed[changed] = self._moved[changed]
        self._all = coasting.joined(self._kept).moved_to(boxes)
        return self._all

    @property
    def follows(self) -> bool:
        """Whether there was a frame since the last analysed one."""
        return self._patches is not None

    def _stays(self, frame: Frame, seen: Tracks) -> NDArray[np.bool_]:
        """Which are kept although they are not seen."""
        assert self._began is not None
        for track_id in self._all.track_ids.tolist():
            self._unseen.setdefault(track_id, self._began.pts_ns)
        for track_id in seen.track_ids.tolist():
            self._unseen.pop(track_id, None)
        oldest = frame.pts_ns - round(KEPT_S * NS)
        recent = [self._unseen.get(track_id, 0) >= oldest for track_id in self._all.track_ids.tolist()]
        stays = ~np.isin(self._all.track_ids, seen.track_ids) & (self._likeness >= KEPT_LIKE) & recent
        return np.asarray(stays & (self._all.shown(frame.width, frame.height) > KEPT_SHOWN))

    @staticmethod
    def _none(count: int) -> NDArray[np.float32]:
        """Movements of nobody, float32 [count, 2]."""
        return np.zeros((count, 2), np.float32)
