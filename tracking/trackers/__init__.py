"""Trackers, by name: one file each, loaded when chosen."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from inference.detections import Detections
from tracking.tracks import Tracks

if TYPE_CHECKING:
    from tracking.config import TrackerConfig

TRACKERS = {"bytetrack": "tracking.trackers.bytetrack:ByteTracker"}


class Tracker(Protocol):
    """Tracks one session of one stream; a new session gets a new tracker.

    Constructed as `Tracker(config, frame_rate)`, with the rate of analysed frames in Hz.
    """

    def update(self, detections: Detections, pts_ns: int) -> Tracks:
        """The confirmed tracks seen in the frame at media time `pts_ns`; frames come in order."""
        ...


def new_tracker(config: TrackerConfig, frame_rate: float) -> Tracker:
    module, _, name = TRACKERS.get(config.kind, config.kind).partition(":")
    tracker: Tracker = getattr(import_module(module), name)(config, frame_rate)
    return tracker
