"""Trackers, by name: loaded when chosen."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inference.detections import Detections
    from ingest.frame import Frame
    from tracking.config import TrackerConfig
    from tracking.tracks import Tracks

BOXMOT = "tracking.trackers.boxmot:BoxmotTracker"
TRACKERS = {
    "bytetrack": "tracking.trackers.bytetrack:ByteTracker",
    "deepsort": "tracking.trackers.deepsort:DeepSort",
    "strongsort": BOXMOT,
    "botsort": BOXMOT,
    "ocsort": BOXMOT,
    "deepocsort": BOXMOT,
    "hybridsort": BOXMOT,
    "boosttrack": BOXMOT,
}


class Tracker(Protocol):
    """Tracks one session of one stream; a new session gets a new tracker.

    Constructed as `Tracker(config, frame_rate)`, with the rate of analysed frames in Hz. Frames come in order, each to
    one of the methods. Time is media time (`Frame.pts_ns`): frames that were dropped or skipped are just not there.
    """

    def update(self, detections: Detections, frame: Frame) -> Tracks:
        """The confirmed tracks that were seen in the frame."""
        ...

    def coast(self, frame: Frame) -> Tracks:
        """Where the tracks of the last update have moved by now, in a frame that nobody looked for objects in.

        Changes nothing: the next update goes on from the last one.
        """
        ...

    def hold(self, frame: Frame) -> Tracks:
        """The tracks of the last update where they were, in a frame in which nothing has moved since.

        They do not age meanwhile, nor do those that are lost.
        """
        ...


def new_tracker(config: TrackerConfig, frame_rate: float) -> Tracker:
    if config.per_class:
        from tracking.trackers.per_class import PerClass

        one = config.model_copy(update={"per_class": False})
        return PerClass(lambda: new_tracker(one, frame_rate), lost_after_ns(config, frame_rate))
    module, _, name = TRACKERS.get(config.kind, config.kind).partition(":")
    tracker: Tracker = getattr(import_module(module), name)(config, frame_rate)
    return tracker


def lost_after_ns(config: TrackerConfig, frame_rate: float) -> int:
    """For how long a track may be unseen, ns of media time.

    What is seen in one frame and in the next was not lost, however slow the stream is.
    """
    return round(max(config.lost_after * 1e9, 1.5e9 / frame_rate))


def wants_features(config: TrackerConfig) -> bool:
    """Whether the tracker compares `Detections.features` where there are any; who knows what one's own does."""
    from tracking.config import APPEARANCE

    return config.kind in APPEARANCE or config.kind not in TRACKERS


def needs_features(config: TrackerConfig) -> bool:
    """Whether the tracker is little else than a comparison of features, and falls behind ByteTrack without."""
    from tracking.config import NOTHING_WITHOUT_APPEARANCE

    return config.kind in NOTHING_WITHOUT_APPEARANCE
