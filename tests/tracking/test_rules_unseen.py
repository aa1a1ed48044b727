"""Tracks that nobody looked for in a frame: they are there, but do nothing that a detection has not shown."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.detections import Detections
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tests.tracking.scripted import ACROSS, IMAGE, MIDDLE, NAMES, THROUGH, Script, of_rules, walk
from tracking.config import TrackerConfig
from tracking.events import Event, EventType
from tracking.lifecycle import Lifecycle
from tracking.trackers.bytetrack import ByteTracker

RULES = {"zones": {"zone": MIDDLE}, "lines": {"line": ACROSS}}
PASSES = [("zone.entered", 1, None), ("line.crossed", 1, "right"), ("zone.left", 1, None)]


@pytest.mark.parametrize("every", [2, 5, 12])
def test_who_coasts_between_detections_does_the_same_only_a_little_later(every: int) -> None:
    always = Script(**RULES).play({1: THROUGH}, 4)
    now_and_then = Script(**RULES, detected=lambda t: round(t * 25) % every == 0).play({1: THROUGH}, 4)
    assert of_rules(always) == of_rules(now_and_then) == PASSES
    for one, other in zip(always, now_and_then, strict=True):
        assert abs(other.pts_ns - one.pts_ns) <= every / 25 * NS
        assert other.frames <= one.frames


def test_a_coasted_box_alone_enters_and_crosses_nothing() -> None:
    """It was last detected above the zone and coasts through all of it; then it is found where it had stopped."""
    stops = walk((0, 0.5, 0.05), (1, 0.5, 0.2), (1.04, 0.5, 0.2))
    coasts = walk((1, 0.5, 0.2), (4, 0.5, 0.9))

    def path(t: float) -> tuple[float, float] | None:
        return stops(t) if t <= 1 else coasts(t) if t < 4 else (0.5, 0.2)

    events = Script(**RULES, detected=lambda t: t <= 1 or t >= 4).play({1: path}, 5)
    assert of_rules(events) == []
    assert [event.type for event in events] == [EventType.TRACK_STARTED, EventType.TRACK_ENDED]
    assert events[-1].frames == 26 + 25, "frames it was detected in"


def test_who_coasts_is_not_lost_and_ends_where_it_was_detected_last() -> None:
    script = Script(detected=lambda t: t < 1)
    script.until({1: THROUGH}, 3.9)
    assert len(script.followed) == 1
    (end,) = script.followed.finish()
    assert (end.pts_ns, end.frames) == (round(0.96 * NS), 25)


def test_a_track_starts_when_it_is_detected() -> None:
    events = Script(detected=lambda t: t >= 1).play({1: THROUGH}, 4)
    assert (events[0].type, events[0].pts_ns) == (EventType.TRACK_STARTED, NS)


def test_a_held_object_stays_dwells_and_ends_when_the_session_does() -> None:
    zone = MIDDLE.model_copy(update={"dwell": 20.0})
    arrives = walk((0, 0.5, 0.05), (1, 0.5, 0.5), (60, 0.5, 0.5))
    events = Script(zones={"zone": zone}, detected=lambda t: t < 1.5, held=True).play({1: arrives}, 60)
    assert of_rules(events) == [("zone.entered", 1, None), ("zone.dwell", 1, None), ("zone.left", 1, None)]
    entered, dwelt, left = (event for event in events if event.place)
    assert dwelt.pts_ns - entered.pts_ns == pytest.approx(20 * NS, abs=NS / 20)
    assert left.pts_ns == pytest.approx(60 * NS, abs=NS / 20)
    assert left.duration_s == pytest.approx((left.pts_ns - entered.pts_ns) / NS)


def test_who_is_held_just_after_entering_has_entered() -> None:
    """Nothing moves any more: no detection will come to confirm it for a while."""
    arrives = walk((0, 0.5, 0.05), (1, 0.5, 0.5), (9, 0.5, 0.5))
    events = Script(zones={"zone": MIDDLE}, detected=lambda t: t < 0.7, held=True).play({1: arrives}, 9)
    assert of_rules(events)[0] == ("zone.entered", 1, None)


@given(st.lists(st.booleans(), min_size=20, max_size=20), st.booleans())
def test_whoever_looks_when_stays_pair_up_and_sides_alternate(looks: list[bool], held: bool) -> None:
    to_and_fro = walk(*[(float(t), 0.5, 0.1 if t % 2 else 0.9) for t in range(9)])
    script = Script(**RULES, fps=10.0, detected=lambda t: t == 0 or looks[int(t * 10) % 20], held=held)
    events = script.play({1: to_and_fro}, 8)
    inside, sides = 0, []
    for event in events:
        inside += {EventType.ZONE_ENTERED: 1, EventType.ZONE_LEFT: -1}.get(event.type, 0)
        assert inside in (0, 1)
        if event.direction:
            sides.append(event.direction)
    assert inside == 0
    assert all(one != other for one, other in pairwise(sides))
    assert Counter(event.type for event in events)[EventType.TRACK_STARTED] == 1


def test_who_comes_after_another_has_ended_begins_from_nothing() -> None:
    """The first one ends in the zone, beyond the line, at rest and before its stay was told of; the other keeps out."""
    zone = MIDDLE.model_copy(update={"dwell": 1.0, "stopped": 1.0})
    first, after = walk((0, 0.5, 0.1), (2, 0.5, 0.6), (4, 0.5, 0.6)), walk((6, 0.5, 0.1), (8, 0.5, 0.1), (9, 0.1, 0.2))
    events = Script(zones={"zone": zone}, lines={"line": ACROSS}).play({1: first, 2: after}, 9)
    assert {event.track_id for event in events if event.place} == {1}
    end = events[-1].summary
    assert end is not None
    assert (events[-1].track_id, end.zones, end.path[0][0]) == (2, (), 6.0)


def test_with_a_real_tracker_who_is_hidden_within_the_buffer_neither_leaves_nor_enters_again() -> None:
    tracker = ByteTracker(TrackerConfig(lost_after=1.5), 10.0)
    followed = Lifecycle("gate", 1, 1.5, NAMES, RULES["zones"], RULES["lines"])
    events: list[Event] = []
    for seq in range(80):
        t = seq / 10
        hidden, skipped = 3.0 <= t < 4.2, seq % 3 != 0
        boxes = np.array([[] if hidden else [70, 15 + 4 * t, 90, 55 + 4 * t]], np.float32).reshape(-1, 4)
        found = Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int32))
        frame = Frame("gate", 1, seq, round(t * NS), 0, 0, Clock.ARRIVAL, None, IMAGE)
        tracks = tracker.coast(frame) if skipped else tracker.update(found, frame)
        events += followed.update(frame, tracks)
    events += followed.finish()
    kinds = Counter(event.type.value for event in events)
    assert kinds == {"track.started": 1, "zone.entered": 1, "zone.left": 1, "track.ended": 1}
