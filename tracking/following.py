"""Follows the objects of one session: frames in, tracks and events out, whether the detector saw the frame or not."""

from __future__ import annotations

import numpy as np

from inference.detections import Detections
from ingest.frame import Frame
from tracking.attention.cadence import LEAST_SHOWN, Cadence, View
from tracking.attention.pursuit import Pursuit
from tracking.events import Event
from tracking.lifecycle import Lifecycle
from tracking.trackers import Tracker
from tracking.tracks import Tracks


class Following:
    """A session's tracker and what its tracks have lived through. Frames come in order, each to one of the methods.

    Attributes:
        view: what the tracks need of the detector, after each analysed frame; None without a `cadence`.
    """

    def __init__(self, tracker: Tracker, lifecycle: Lifecycle, cadence: Cadence | None) -> None:
        self.lifecycle = lifecycle
        self.view: View | None = None
        self._tracker = tracker
        self._cadence = cadence
        self._pursuit = Pursuit()

    def analysed(self, frame: Frame, detections: Detections) -> tuple[Tracks, list[Event]]:
        """The frame's tracks, and what it brought.

        With a `cadence` those too that the detector fails to see for a moment, where they look like themselves.
        """
        if self._cadence is None:
            tracks = self._tracker.update(detections, frame)
            return tracks, self.lifecycle.update(frame, tracks)
        expected = self._tracker.coast(frame)
        if self._pursuit.follows:
            self._pursuit.follow(frame, expected)
        seen = self._tracker.update(detections, frame)
        events = self.lifecycle.update(frame, seen)
        self.view = self._cadence.saw(frame, detections, expected, seen, len(self.lifecycle))
        return self._pursuit.begin(frame, seen), events

    def skipped(self, frame: Frame, stands: bool) -> tuple[Tracks, list[Event]]:
        """As `analysed`, for a frame that nobody looked for objects in; `stands`: nothing has moved for a while.

        Tracks that were lost must age even then, which trackers that hold do not let them.
        """
        if stands and self._cadence is not None and self.view is not None and not self.view.lost:
            tracks = here = self._tracker.hold(frame)
            self._cadence.held(frame)
        else:
            coasting = self._tracker.coast(frame)
            tracks = self._pursuit.follow(frame, coasting)
            here = tracks.only(np.isin(tracks.track_ids, coasting.track_ids))  # those kept are lost, and age
        tracks, here = (one.only(one.shown(frame.width, frame.height) > LEAST_SHOWN) for one in (tracks, here))
        return tracks, self.lifecycle.update(frame, here)
