"""Tracks are shown where the picture shows them while nobody asks the detector, and while it overlooks them."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.detections import Detections
from ingest.frame import Frame
from tests.ingest.scenery import Scenery
from tracking.attention.cadence import Cadence
from tracking.config import TrackerConfig
from tracking.events import Event, EventType
from tracking.following import Following
from tracking.lifecycle import Lifecycle
from tracking.trackers.bytetrack import ByteTracker
from tracking.tracks import Tracks

RATE = 25.0
SIZE = (320, 180)


class Street:
    """One that walks: steadily to the right at first, and from frame 30 on back twice as fast, until it stands."""

    def __init__(self, cadence: bool = True) -> None:
        self._scenery = Scenery(SIZE, RATE, noise=1.0)
        self._look = np.kron(np.random.default_rng(3).uniform(20, 220, (12, 6)), np.ones((5, 5)))
        lifecycle = Lifecycle("gate", 1, 1.5, ("thing",), {}, {})
        self.following = Following(
            ByteTracker(TrackerConfig(), RATE), lifecycle, Cadence(1.5, 0.4) if cadence else None
        )  # fmt: skip
        self.events: list[Event] = []

    def box(self, n: int) -> tuple[float, float, float, float]:
        left = 40 + 2 * n if n < 30 else 100 - 4 * (min(n, 45) - 30)
        return left, 60, left + 30, 120

    def frame(self, n: int, here: bool = True) -> Frame:
        picture = self._scenery.ground.copy()
        if here:
            left, top, right, bottom = (round(side) for side in self.box(n))
            picture[top:bottom, left:right] = self._look
        return self._scenery.frame(n, luma=picture + self._scenery.rng.normal(0, 1, picture.shape))

    def looks(self, n: int, seen: bool = True, here: bool = True) -> Tracks:
        found: Any = np.array([self.box(n)] if seen else [], np.float32).reshape(-1, 4)
        scores, classes = np.full(len(found), 0.9, np.float32), np.zeros(len(found), np.int32)
        tracks, events = self.following.analysed(self.frame(n, here), Detections(found, scores, classes))
        self.events += events
        return tracks

    def passes(self, n: int, here: bool = True) -> Tracks:
        tracks, events = self.following.skipped(self.frame(n, here), stands=False)
        self.events += events
        return tracks


def test_one_that_turns_is_shown_where_it_is_though_nobody_looks() -> None:
    street = Street()
    for n in range(30):
        street.looks(n)
    for n in range(30, 40):
        shown = street.passes(n)
        np.testing.assert_allclose(shown.boxes, [street.box(n)], atol=2)
        assert shown.detection_rows.tolist() == [-1]


def test_one_that_is_gone_moves_on_as_it_did() -> None:
    """Nothing there looks like it, so that its motion is all that is known."""
    street = Street()
    for n in range(20):
        street.looks(n)
    shown = [street.passes(n, here=False).boxes[0] for n in range(20, 26)]
    np.testing.assert_allclose(shown, [street.box(n) for n in range(20, 26)], atol=3)


def test_one_that_the_detector_overlooks_is_shown_for_a_moment_as_long_as_it_is_there() -> None:
    street = Street()
    for n in range(20):
        street.looks(n)
    shown = []
    for n in range(20, 45):
        tracks = street.looks(n, seen=False) if n % 3 == 0 else street.passes(n)
        shown.append(tracks.track_ids.tolist())
        for box in tracks.boxes:
            np.testing.assert_allclose(box, street.box(n), atol=3)
    assert shown[:7] == [[1]] * 7
    assert shown[12:] == [[]] * 13


def test_one_that_is_overlooked_because_it_has_left_is_not() -> None:
    street = Street()
    for n in range(20):
        street.looks(n)
    street.passes(20, here=False)
    assert not len(street.looks(21, seen=False, here=False))
    assert not len(street.passes(22, here=False))


def test_one_that_is_shown_although_it_is_overlooked_ends_when_it_would_have() -> None:
    ends = []
    for is_there in (True, False):
        street = Street()
        for n in range(20):
            street.looks(n)
        for n in range(20, 70):
            if n % 3 == 0:
                street.looks(n, seen=False, here=is_there)
            else:
                street.passes(n, here=is_there)
        ends.append([event.seq for event in street.events if event.type is EventType.TRACK_ENDED])
    # Until the first look nobody knows that it has gone.
    assert len(ends[0]) == 1
    assert ends[0] == ends[1]


def test_with_attention_off_tracks_are_those_that_the_detector_sees() -> None:
    street = Street(cadence=False)
    for n in range(20):
        street.looks(n)
    assert not len(street.looks(20, seen=False))


def test_a_tracker_that_moves_others_than_it_told_is_left_alone() -> None:
    class Forgetful(ByteTracker):
        def coast(self, frame: Frame) -> Tracks:
            return Tracks.empty()

    street = Street()
    street.following._tracker = Forgetful(TrackerConfig(), RATE)
    for n in range(20):
        street.looks(n)
    assert not len(street.passes(20))
