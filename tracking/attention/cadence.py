"""How long each track can do without the detector: as long as its own motion model has proved to foresee it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.detections import Detections
from ingest.clock import NS
from ingest.frame import Frame
from tracking.tracks import Tracks

# A track may drift so far from where it is foreseen before it is looked at, and move so far, in parts of its box: with
# nobody near as far as matching by overlap bears, and where another one could be taken for it, less.
DRIFT, CROWDED_DRIFT = 0.25, 0.08
REACH, CROWDED_REACH = 0.8, 0.35
# Centres of two that are near are no further apart than this part of their sizes together; half is where they touch.
NEAR = 0.7
# Boxes tremble by about this much whatever the time between two looks.
TREMBLE = 0.02
# Seconds between two looks: at a track whose motion is still to be found out, and at the steadiest.
FIRST_S, LONGEST_S = 0.08, 0.5
# So much longer or shorter than the last time.
MOST_GROWTH, MOST_CUT = 2.5, 0.5
# Trackers drop tracks they have not seen for `lost_after`: these parts of it are the longest between two looks while
# something moves, and while nothing does but tracks that were lost must age.
MOVING_PART, LOST_PART = 0.6, 0.8
# Where a track was lost while it should be seen it is looked for this often if something moves there, so many times,
# and then as often as anything that the detector finds nothing in.
SEARCH_S, SEARCHES, GIVEN_UP_S = 0.08, 3, 0.42
# What is so near to the border, in parts of the picture, and moves out may have left.
BORDER = 0.02
# A track that coasts is followed for as long as this part of its box is in the picture.
LEAST_SHOWN = 0.3
# Looks at every frame for what may become a track; then it has had its chance.
CHANCES = 5


@dataclass(frozen=True, slots=True)
class View:
    """What the tracks need, as of the last analysed frame.

    Attributes:
        session, pts_ns: that frame.
        boxes: float32 [N, 4] xyxy, pixels: where the tracks were; and where those were lost that may be found again.
        velocities: float32 [N, 4], how fast their edges move, pixels a second; 0 for lost ones.
        intervals_s: float64 [N], how long each may coast while it moves, or be lost while something moves there.
        longest_s: how long any of them may while something moves.
        longest_lost_s: how long while nothing does but tracks are lost, which age while the others coast.
        lost: some are lost.
        again: something may become a track if it is seen in the next frame too.
        alive: there are tracks at all.
    """

    session: int
    pts_ns: int
    boxes: NDArray[np.float32]
    velocities: NDArray[np.float32]
    intervals_s: NDArray[np.float64]
    longest_s: float
    longest_lost_s: float
    lost: bool
    again: bool
    alive: bool


@dataclass(slots=True)
class _Known:
    box: NDArray[np.float32]
    velocity: NDArray[np.float32]
    interval_s: float


@dataclass(frozen=True, slots=True)
class _Lost:
    """Where a track should have been seen and was not, and when."""

    box: NDArray[np.float32]
    pts_ns: int


class Cadence:
    """Of one session. Fed with every analysed frame, in order."""

    def __init__(self, lost_after_s: float, starts_at: float) -> None:
        """`starts_at` is the least score of a box that starts a track."""
        self._longest_s = min(LONGEST_S, lost_after_s * MOVING_PART)
        self._longest_lost_s = lost_after_s * LOST_PART
        self._lost_after_ns = round(lost_after_s * NS)
        self._starts_at = starts_at
        self._known: dict[int, _Known] = {}
        self._lost: dict[int, _Lost] = {}
        self._pts_ns: int | None = None
        self._chances = self._searches = 0

    def saw(self, frame: Frame, detections: Detections, expected: Tracks, tracks: Tracks, alive: int) -> View:
        """Takes in what was seen in a frame.

        Args:
            frame, detections, tracks: what the detector and then the tracker found.
            expected: where the tracker thought its tracks to be in this frame before it knew.
            alive: how many tracks have started and not ended, seen in this frame or not.
        """
        elapsed_s = (frame.pts_ns - self._pts_ns) / NS if self._pts_ns is not None else 0.0
        self._pts_ns = frame.pts_ns
        foreseen = dict(zip(expected.track_ids.tolist(), expected.boxes, strict=True))
        crowded = _crowded(tracks.boxes)
        known: dict[int, _Known] = {}
        weak = tracks.scores < self._starts_at
        for track_id, box, is_uncertain in zip(
            tracks.track_ids.tolist(), tracks.boxes, (crowded | weak).tolist(), strict=True
        ):
            before = self._known.get(track_id)
            if before is None or elapsed_s <= 0:
                known[track_id] = _Known(box, np.zeros(4, np.float32), min(FIRST_S, self._longest_s))
                continue
            velocity = 0.5 * (before.velocity + (box - before.box) / np.float32(elapsed_s))
            drift = _drift(foreseen.get(track_id, before.box), box)
            bearable, reach = (CROWDED_DRIFT, CROWDED_REACH) if is_uncertain else (DRIFT, REACH)
            # Noise adds to the drift as it is, and what is wrong with a velocity grows with time.
            borne = elapsed_s * bearable / max(drift - TREMBLE, 1e-3)
            interval_s = float(np.clip(borne, MOST_CUT * before.interval_s, MOST_GROWTH * before.interval_s))
            interval_s = min(interval_s, reach / max(_drift(box - velocity, box), 1e-3))
            known[track_id] = _Known(box, velocity, min(max(interval_s, FIRST_S / 2), self._longest_s))
        if self._vanished(expected, known, frame):
            self._searches = SEARCHES
        elif self._searches:
            self._searches = self._searches - 1 if alive > len(tracks) else 0
        self._lose(foreseen, known)
        self._known = known
        hopeful = self._hopeful(detections, tracks)
        self._chances = self._chances + 1 if hopeful else 0
        lost = self._lost.values()
        still, searched = np.zeros((len(lost), 4)), [SEARCH_S if self._searches else GIVEN_UP_S] * len(lost)
        return View(
            session=frame.session,
            pts_ns=frame.pts_ns,
            boxes=np.array([*(one.box for one in known.values()), *(one.box for one in lost)], np.float32).reshape(
                -1, 4
            ),
            velocities=np.array([*(one.velocity for one in known.values()), *still], np.float32).reshape(-1, 4),
            intervals_s=np.array([*(one.interval_s for one in known.values()), *searched], np.float64),
            longest_s=self._longest_s,
            longest_lost_s=self._longest_lost_s if len(tracks) else np.inf,
            lost=alive > len(tracks),
            again=hopeful and self._chances <= CHANCES,
            alive=alive > 0,
        )

    def held(self, frame: Frame) -> None:
        """Nothing has moved for a while: that time tells nothing of how well motion is foreseen."""
        self._pts_ns = frame.pts_ns
        for known in self._known.values():
            known.interval_s = FIRST_S
            known.velocity = np.zeros(4, np.float32)

    def _lose(self, foreseen: dict[int, NDArray[np.float32]], known: dict[int, _Known]) -> None:
        """Takes note of where tracks are not seen any more, for as long as they may be found again."""
        assert self._pts_ns is not None
        for track_id in self._known.keys() - known.keys():
            if track_id in foreseen:
                self._lost[track_id] = _Lost(foreseen[track_id], self._pts_ns)
        oldest = self._pts_ns - self._lost_after_ns
        self._lost = {i: one for i, one in self._lost.items() if i not in known and one.pts_ns >= oldest}

    def _vanished(self, expected: Tracks, known: dict[int, _Known], frame: Frame) -> bool:
        """Whether a track is not seen where it should be, and was not on its way out of the picture either."""
        for track_id, box in zip(expected.track_ids.tolist(), expected.boxes.tolist(), strict=True):
            if track_id in self._known and track_id not in known:
                speeds = self._known[track_id].velocity.tolist()
                if not (_leaves(box[0], box[2], speeds[0], speeds[2], frame.width)
                        or _leaves(box[1], box[3], speeds[1], speeds[3], frame.height)):  # fmt: skip
                    return True
        return False

    def _hopeful(self, detections: Detections, tracks: Tracks) -> bool:
        strong = detections.scores >= self._starts_at
        strong[tracks.detection_rows[tracks.detection_rows >= 0]] = False
        return bool(strong.any())


def _leaves(low: float, high: float, low_speed: float, high_speed: float, size: int) -> bool:
    """Whether a box is at a border and moves out there, along one axis of the picture."""
    return (low < BORDER * size and high_speed < 0) or (high > (1 - BORDER) * size and low_speed > 0)


def _drift(foreseen: NDArray[np.float32], seen: NDArray[np.float32]) -> float:
    """How far a box is from where it was thought to be, in parts of its size: centres, widths and heights."""
    width, height = max(float(seen[2] - seen[0]), 1.0), max(float(seen[3] - seen[1]), 1.0)
    left, top, right, bottom = (float(off) for off in seen - foreseen)
    across, down = max(abs(left + right), abs(right - left)), max(abs(top + bottom), abs(bottom - top))
    return max(across / (2 * width), down / (2 * height))


def _crowded(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which boxes have another one near."""
    centres, sizes = boxes[:, :2] + boxes[:, 2:], boxes[:, 2:] - boxes[:, :2]  # twice the centres
    apart = np.abs(centres[:, None] - centres[None])
    close = np.all(apart < 2 * NEAR * (sizes[:, None] + sizes[None]), axis=2)
    return np.asarray(close.sum(1) > 1)  # each is near itself
