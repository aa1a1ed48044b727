"""Zones and lines tell what objects do, once, however their boxes tremble and however often they are looked at."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.clock import NS
from tests.tracking.scripted import ACROSS, MIDDLE, NAMES, THROUGH, Path, Script, of_rules, walk
from tracking.events import EndReason, Event, EventType
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.rules.geometry import depth_at, in_heights, on_border


def play(
    paths: dict[int, Path], seconds: float, fps: float = 25.0, zone: ZoneConfig | None = MIDDLE,
    line: LineConfig | None = ACROSS, classes: dict[int, int] | None = None,
) -> list[Event]:  # fmt: skip
    script = Script({"zone": zone} if zone else {}, {"line": line} if line else {}, fps=fps, classes=classes or {})
    return script.play(paths, seconds)


@pytest.mark.parametrize("fps", [5, 12.5, 25, 60])
def test_who_walks_through_enters_crosses_and_leaves_whatever_the_frame_rate(fps: float) -> None:
    events = play({1: THROUGH}, 4, fps)
    assert of_rules(events) == [("zone.entered", 1, None), ("line.crossed", 1, "right"), ("zone.left", 1, None)]
    entered, crossed, left = (event for event in events if event.place)
    # At 0.225 of the picture a second: 0.25 is reached after 0.89 s, 0.5 after 2 s, 0.75 after 3.11 s.
    slack = 1 / fps + 0.06  # and the margin is passed a little later
    for event, at in ((entered, 0.89), (crossed, 2.0), (left, 3.11)):
        assert at <= event.pts_ns / NS <= at + slack
    assert left.duration_s == pytest.approx(left.pts_ns / NS - entered.pts_ns / NS)
    assert (entered.count, left.count) == (1, 0)


def test_the_way_back_is_a_crossing_to_the_other_side() -> None:
    path = walk((0, 0.5, 0.1), (2, 0.5, 0.9), (4, 0.5, 0.1))
    crossings = [direction for kind, _, direction in of_rules(play({1: path}, 4)) if kind == "line.crossed"]
    assert crossings == ["right", "left"]


def test_a_way_around_the_end_of_a_line_is_no_crossing() -> None:
    around = walk((0, 0.5, 0.1), (1, 0.95, 0.1), (2, 0.95, 0.9), (3, 0.5, 0.9))
    assert of_rules(play({1: around}, 3, zone=None)) == []


@pytest.mark.parametrize("where", [(0.5, 0.25), (0.5, 0.5), (0.75, 0.75)])
def test_who_trembles_on_an_edge_or_a_line_does_nothing(where: tuple[float, float]) -> None:
    rng = np.random.default_rng(1)
    shifts = rng.normal(0, 0.003, (200, 2))

    def trembling(t: float) -> tuple[float, float]:
        shift = shifts[round(t * 25) % 200]
        return where[0] + shift[0], where[1] + shift[1]

    kinds = Counter(kind for kind, _, _ in of_rules(play({1: trembling}, 8)))
    assert kinds["line.crossed"] == 0
    assert kinds["zone.entered"] <= 1
    assert kinds["zone.entered"] == kinds["zone.left"]


def test_a_jump_that_is_taken_back_before_it_is_held_is_nothing() -> None:
    def jumps(t: float) -> tuple[float, float]:
        return (0.5, 0.6) if 1.0 <= t < 1.2 else (0.5, 0.1)

    assert of_rules(play({1: jumps}, 3)) == []


def test_who_is_lost_and_found_within_a_zone_stays_in_it() -> None:
    def hidden(t: float) -> tuple[float, float] | None:
        return None if 1.6 <= t <= 2.4 else THROUGH(t)

    assert of_rules(play({1: hidden}, 4)) == [("zone.entered", 1, None), ("line.crossed", 1, "right"),
                                              ("zone.left", 1, None)]  # fmt: skip


def test_who_ends_in_a_zone_leaves_it_before_the_end_is_told() -> None:
    events = play({1: walk((0, 0.5, 0.05), (2, 0.5, 0.45))}, 5)
    assert [event.type for event in events] == [
        EventType.TRACK_STARTED, EventType.ZONE_ENTERED, EventType.ZONE_LEFT, EventType.TRACK_ENDED
    ]  # fmt: skip
    assert [event.reason for event in events[-2:]] == [EndReason.LOST, EndReason.LOST]


def test_a_crossing_just_before_the_end_of_a_track_counts() -> None:
    leaving = walk((0, 0.5, 0.05), (2.1, 0.5, 0.55))  # held for 0.2 s only, and then it is gone
    assert ("line.crossed", 1, "right") in of_rules(play({1: leaving}, 4))


def test_a_stay_is_told_of_once_when_it_has_lasted() -> None:
    zone = MIDDLE.model_copy(update={"dwell": 2.0})
    events = play({1: walk((0, 0.5, 0.05), (1, 0.5, 0.4), (6, 0.6, 0.4), (7, 0.5, 0.95))}, 8, zone=zone, line=None)
    assert of_rules(events) == [("zone.entered", 1, None), ("zone.dwell", 1, None), ("zone.left", 1, None)]
    entered, dwelt, _ = (event for event in events if event.place)
    assert dwelt.pts_ns - entered.pts_ns == pytest.approx(2 * NS, abs=0.05 * NS)
    assert dwelt.duration_s == pytest.approx(2.0, abs=0.05)


def test_each_stay_is_told_of_when_it_has_lasted() -> None:
    zone = MIDDLE.model_copy(update={"dwell": 1.0})
    twice = walk((0, 0.5, 0.5), (2, 0.5, 0.5), (3, 0.1, 0.5), (4, 0.1, 0.5), (5, 0.5, 0.5), (8, 0.5, 0.5))
    stay = [("zone.entered", 1, None), ("zone.dwell", 1, None), ("zone.left", 1, None)]
    assert of_rules(play({1: twice}, 8, zone=zone, line=None)) == stay + stay


def test_a_crowd_is_told_of_when_it_is_complete_and_again_after_it_was_not() -> None:
    zone = MIDDLE.model_copy(update={"crowd": 2})
    stays = walk((0, 0.5, 0.5), (12, 0.5, 0.5))
    comes_twice = walk((0, 0.1, 0.5), (2, 0.4, 0.5), (4, 0.1, 0.5), (6, 0.4, 0.5), (8, 0.1, 0.5))
    events = play({1: stays, 2: comes_twice}, 12, zone=zone, line=None)
    crowds = [(event.track_id, event.count, event.number) for event in events if event.type is EventType.ZONE_CROWDED]
    assert crowds == [(2, 2, 1), (2, 2, 2)]


def test_other_classes_do_not_count() -> None:
    zone = MIDDLE.model_copy(update={"classes": ("person",)})
    line = ACROSS.model_copy(update={"classes": ("car",)})
    events = play({1: THROUGH, 2: THROUGH}, 4, zone=zone, line=line, classes={1: 0, 2: 1})
    assert sorted(of_rules(events)) == [("line.crossed", 2, "right"), ("zone.entered", 1, None), ("zone.left", 1, None)]


def test_who_was_first_taken_for_something_else_counts_from_when_it_came() -> None:
    """A car that comes round the corner is seen as a phone for a few frames."""
    zone = MIDDLE.model_copy(update={"classes": ("person",), "dwell": 1.0, "crowd": 1})
    script = Script({"zone": zone}, seen_as=lambda track_id, t: 1 if t < 1.3 else 0)
    events = [event for event in script.play({1: THROUGH}, 4) if event.place]
    kinds = ["zone.entered", "zone.crowded", "zone.dwell", "zone.left"]
    assert [event.type.value for event in events] == kinds
    always = [event for event in Script({"zone": zone}).play({1: THROUGH}, 4) if event.place]
    assert [(event.pts_ns, event.count) for event in events[:2]] == [
        (event.pts_ns, event.count) for event in always[:2]
    ]
    assert events[-1].duration_s == always[-1].duration_s
    assert NAMES[events[0].class_id] == "person"


def test_no_two_events_share_an_id() -> None:
    back_and_forth = walk(*[(float(t), 0.5, 0.1 if t % 2 else 0.9) for t in range(12)])
    events = play({1: back_and_forth, 2: back_and_forth}, 12)
    assert len({event.event_id for event in events}) == len(events)


NO_BORDER = np.zeros(8, np.bool_)


def test_who_stands_at_the_pictures_border_is_in_a_zone_that_goes_there() -> None:
    """Boxes that are cut off end on the border: without a margin there, nobody could enter from below."""
    zone = ZoneConfig(polygon=[(0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)])
    cut_off = walk((0, 0.5, 1.0), (2, 0.5, 1.0))
    events = play({1: cut_off}, 3, zone=zone, line=None)
    assert of_rules(events) == [("zone.entered", 1, None), ("zone.left", 1, None)]


corner = st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98))
wander = st.lists(corner, min_size=2, max_size=12)


@given(st.lists(wander, min_size=1, max_size=3), st.floats(0, 0.5), st.sampled_from([4.0, 10.0, 25.0]))
def test_stays_pair_up_counts_balance_and_crossings_alternate(
    ways: list[list[tuple[float, float]]], hold: float, fps: float
) -> None:
    zone, line = MIDDLE.model_copy(update={"hold": hold, "crowd": 2}), ACROSS.model_copy(update={"hold": hold})
    paths = {
        index + 1: walk(*[(float(t), x, y) for t, (x, y) in enumerate(way)]) for index, way in enumerate(ways)
    }  # fmt: skip
    inside: set[int] = set()
    directions: dict[int, list[str]] = defaultdict(list)
    for event in play(paths, 13, fps, zone, line):
        if event.type is EventType.ZONE_ENTERED:
            assert event.track_id not in inside
            inside.add(event.track_id)
            assert event.count == len(inside)
        elif event.type is EventType.ZONE_LEFT:
            inside.remove(event.track_id)
            assert event.count == len(inside)
        elif event.type is EventType.LINE_CROSSED:
            directions[event.track_id].append(str(event.direction))
    assert inside == set()
    for index, way in enumerate(ways):
        told = directions[index + 1]
        # All ways round the line's ends taken away, sides alternate; the line is open at both ends, so only compare
        # ways that never pass beyond them.
        if all(0.2 < x < 0.8 for x, _ in way):
            assert all(one != other for one, other in pairwise(told))


@given(st.floats(0, 2 * math.pi), st.floats(0.01, 0.45), st.integers(3, 9))
def test_depth_is_the_distance_to_the_nearest_edge_and_negative_outside(turn: float, far: float, corners: int) -> None:
    angles = 2 * np.pi * np.arange(corners) / corners
    polygon = np.column_stack([np.cos(angles), np.sin(angles)]) * 0.4 + 0.5
    point = np.array([[0.5 + far * math.cos(turn), 0.5 + far * math.sin(turn)]])
    # Of a regular polygon: how far the point lies within the nearest of its half planes.
    middles = angles + np.pi / corners
    apothem = 0.4 * np.cos(np.pi / corners)
    within = (apothem - ((point - 0.5) @ np.stack([np.cos(middles), np.sin(middles)])).ravel()).min()
    found = depth_at(*point[0], polygon, np.zeros(corners, np.bool_))
    assert (found > 0) == (within > 0) or abs(within) < 1e-9
    if within > 0:
        assert found == pytest.approx(within, abs=1e-9)


def test_a_hollow_polygon_has_its_hollow_outside() -> None:
    horseshoe = in_heights(((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9), (0.6, 0.4), (0.4, 0.4), (0.4, 0.9),
                            (0.1, 0.9)), 100, 100)  # fmt: skip
    found = [depth_at(*at, horseshoe, NO_BORDER) for at in ((0.5, 0.7), (0.25, 0.7), (0.5, 0.25), (0.05, 0.5))]
    assert [inside > 0 for inside in found] == [False, True, True, False]


def test_an_edge_on_the_pictures_border_is_no_edge() -> None:
    floor = ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0))
    polygon = in_heights(floor, 100, 100)
    assert on_border(floor).tolist() == [True, False, True, True]
    for x in (1e-6, 0.3, 1 - 1e-6):
        assert depth_at(x, 1 - 1e-6, polygon, on_border(floor)) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"polygon": [(0.1, 0.1), (0.9, 0.9)]}, "at least 3"),
        ({"polygon": [(0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)]}, "cross"),
        ({"polygon": [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)]}, "no area"),
        ({"polygon": [(0.1, 0.1), (1.2, 0.1), (0.5, 0.9)]}, "less than or equal to 1"),
    ],
)
def test_a_zone_that_nothing_can_be_in_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ZoneConfig.model_validate(settings)


@pytest.mark.parametrize(
    ("ends", "words"), [(((0.5, 0.5), (0.5, 0.5)), "same point"), (((0.0, 1.0), (1.0, 1.0)), "picture's edge")]
)
def test_a_line_that_nothing_can_cross_is_refused(ends: tuple[object, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LineConfig.model_validate({"from": ends[0], "to": ends[1]})
