"""Decides which frames the detector is asked about, before anything but decoding is done with them."""

from __future__ import annotations

import threading
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.frame import Frame
from ingest.motion import Motion, MotionGate
from tracking.attention.cadence import View
from tracking.attention.config import AttentionConfig

# Motion in a track's box and this part of its size around it is the track's: its shadow, what the box leaves out.
MARGIN = 0.4
# Seconds between two looks at motion that no track explains: where it is new, and where the detector has been asked
# about it in vain.
FRESH_S, UNKNOWN_S = 0.1, 0.42
# Every frame that finds no room stretches the intervals so much, up to the most; every analysed one takes some back.
STRETCH, RELAX, MOST_STRETCHED = 1.3, 0.95, 3.0
# What has not moved for so many seconds stands. Objects that go on as before need some time to show that, too.
STANDS_S = 0.3

NOTHING = np.zeros((0, 4), np.float32)


class Look(Enum):
    """What a frame is for."""

    DETECT = "detect"
    COAST = "coast"  # not wanted: its objects are where they were about to be
    HOLD = "hold"  # nor this: nothing has moved for a while


class Attention:
    """Of one stream. The reader's thread asks, in the order of the frames; the loop that has the tracks tells.

    The two share what `told`, `missed` and `replaced` set, each a single assignment.

    Attributes:
        settled: set while the detector has no frame that was asked about.
    """

    def __init__(self, config: AttentionConfig) -> None:
        self._adaptive = config.mode == "adaptive"
        self._keep_alive_ns = round(config.keep_alive * NS)
        self._gate = MotionGate(config.least_change)
        self._session = -1
        self._asked_ns = 0
        self._last_ns = 0
        self._is_first = True
        # What the loop tells.
        self._view: View | None = None
        self._missed = False
        self._stretch = 1.0
        self.settled = threading.Event()
        self.settled.set()

    # -- the reader

    def look(self, frame: Frame) -> Look:
        """What the frame is for. One that the detector shall see is followed by `asks` or `missed`."""
        if frame.session != self._session:
            self._session = frame.session
            self._gate.begin()
            self._is_first, self._last_ns = True, frame.pts_ns
        view = self._view
        if view is not None and view.session != self._session:
            view = None
        motion = self._gate.look(frame, _expected(view, frame.pts_ns))
        step_ns, self._last_ns = frame.pts_ns - self._last_ns, frame.pts_ns
        # Of two frames the one nearer to the time at which it is wanted.
        since_ns = frame.pts_ns - self._asked_ns + step_ns // 2
        if self._is_first or self._missed or view is None or since_ns >= self._keep_alive_ns:
            return Look.DETECT
        if view.again and self._asked_ns <= view.pts_ns:
            return Look.DETECT
        if since_ns >= self._bearable_s(view, motion) * NS:
            return Look.DETECT
        stands = not motion.moved and not view.lost and since_ns >= STANDS_S * NS
        return Look.HOLD if stands else Look.COAST

    @property
    def has_tracks(self) -> bool:
        """Whether frames that are not analysed are of use: there are tracks that go on in them, or may be soon."""
        view = self._view
        return view is None or view.alive or view.again or not self.settled.is_set()

    def _bearable_s(self, view: View, motion: Motion) -> float:
        """For how long after a look such motion can do without another."""
        if motion.moved and not self._adaptive:
            return 0.0
        bearable_s = view.longest_lost_s if view.lost else np.inf
        if motion.moved:
            bearable_s = view.longest_s
        if motion.unknown:
            bearable_s = min(bearable_s, FRESH_S if motion.fresh else UNKNOWN_S)
        return min(bearable_s, self._stretch * float(view.intervals_s[motion.boxes].min(initial=np.inf)))

    def asks(self, frame: Frame) -> None:
        """The frame looked at last goes to the detector."""
        self._asked_ns, self._is_first, self._missed = frame.pts_ns, False, False
        self.settled.clear()
        self._gate.keep()

    # -- the loop, and the reader where a frame does not get as far as the detector

    def missed(self) -> None:
        """A frame that the detector was to see was not analysed: the next one shall be."""
        self._missed = True
        self.replaced()

    def replaced(self) -> None:
        """The detector is behind, and sees a later frame instead."""
        self._stretch = min(MOST_STRETCHED, self._stretch * STRETCH)
        self.settled.set()

    def told(self, view: View) -> None:
        """What the tracks need since the last analysed frame."""
        self._view = view
        self._stretch = max(1.0, self._stretch * RELAX)
        self.settled.set()


def _expected(view: View | None, pts_ns: int) -> NDArray[np.float32]:
    """float32 [N, 4]: what the tracks cover on their way from where they were last seen to where they are by now."""
    if view is None or not len(view.boxes):
        return NOTHING
    moved = view.boxes + view.velocities * np.float32((pts_ns - view.pts_ns) / NS)
    margin = MARGIN * (view.boxes[:, 2:] - view.boxes[:, :2])
    low = np.minimum(view.boxes[:, :2], moved[:, :2]) - margin
    high = np.maximum(view.boxes[:, 2:], moved[:, 2:]) + margin
    return np.concatenate([low, high], axis=1)
