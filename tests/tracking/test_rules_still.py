"""Who stops, lingers or is left behind: each beginning has its end."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.clock import NS
from tests.tracking.scripted import WHOLE, Path, Script, of_rules, walk
from tracking.events import ENDS, EndReason, Event, EventType
from tracking.rules.config import ZoneConfig
from tracking.rules.zone import OWNER_STAYS_NS

STOPS = WHOLE.model_copy(update={"stopped": 3.0})
LOITERS = WHOLE.model_copy(update={"loiter": 10.0})
LEFT_BEHIND = WHOLE.model_copy(update={"abandoned": 10.0, "classes": ("backpack",)})
BAG = {1: 2}
LIES = walk((1, 0.5, 0.5), (60, 0.5, 0.5))


def play(zone: ZoneConfig, paths: dict[int, Path], seconds: float, **settings: object) -> list[Event]:
    return Script(zones={"zone": zone}, size=(9, 9), **settings).play(paths, seconds)  # type: ignore[arg-type]


def told(events: list[Event], *kinds: str) -> list[tuple[str, int]]:
    return [(event.type.value, event.track_id) for event in events if event.type.value in kinds]


@pytest.mark.parametrize("fps", [5, 25])
def test_who_stops_is_told_of_when_that_has_lasted_and_when_it_moves_again(fps: float) -> None:
    path = walk((0, 0.2, 0.5), (2, 0.5, 0.5), (8, 0.5, 0.5), (10, 0.8, 0.5))
    events = play(STOPS, {1: path}, 10, fps=fps)
    stopped, moved = (event for event in events if event.type.value in ("zone.stopped", "zone.moved"))
    assert stopped.pts_ns / NS == pytest.approx(5, abs=0.3)
    assert stopped.duration_s == pytest.approx(3, abs=0.25)
    assert moved.pts_ns / NS == pytest.approx(8, abs=0.4)
    assert moved.duration_s == pytest.approx(6, abs=0.5)
    assert moved.reason is None


def test_who_trembles_stands_and_who_drifts_does_not() -> None:
    """A quarter of the object's size is allowed, here 2.25 pixels of 90."""
    shifts = np.random.default_rng(1).normal(0, 0.004, (1000, 2))

    def trembles(t: float) -> tuple[float, float]:
        shift = shifts[round(t * 25) % 1000]
        return 0.3 + shift[0] * 9 / 16, 0.5 + shift[1]

    events = play(STOPS, {1: trembles, 2: walk((0, 0.3, 0.8), (20, 0.7, 0.8))}, 20)
    assert told(events, "zone.stopped", "zone.moved") == [("zone.stopped", 1), ("zone.moved", 1)]
    assert [event.reason for event in events if event.type is EventType.ZONE_MOVED] == [EndReason.SESSION_ENDED]


def test_a_jump_of_the_box_that_is_taken_back_is_no_movement() -> None:
    def jumps(t: float) -> tuple[float, float]:
        return (0.6, 0.5) if 5 <= t < 5.12 else (0.5, 0.5)

    events = play(STOPS, {1: jumps}, 8)
    assert [round(event.pts_ns / NS, 1) for event in events if event.type is EventType.ZONE_MOVED] == [8.0]


def test_a_parked_object_that_is_hidden_for_a_moment_is_still_parked() -> None:
    def hidden(t: float) -> tuple[float, float] | None:
        return None if 4 < t < 4.9 else (0.5, 0.5)

    events = play(STOPS, {1: hidden}, 8)
    assert told(events, "zone.stopped", "zone.moved") == [("zone.stopped", 1), ("zone.moved", 1)]


def test_who_walks_about_for_long_loiters_until_it_leaves() -> None:
    about = walk(*[(float(t), 0.3 if t % 4 else 0.7, 0.5) for t in range(0, 31, 2)])
    events = play(LOITERS, {1: about}, 40)
    begins, ends, left = (event for event in events if event.type.value in (
        "zone.loitering", "zone.loitered", "zone.left"))  # fmt: skip
    assert begins.duration_s == pytest.approx(10, abs=0.05)
    assert (ends.type, ends.reason) == (EventType.ZONE_LOITERED, EndReason.LOST)
    assert ends.duration_s == left.duration_s


def test_who_stands_does_not_loiter_and_who_passes_neither() -> None:
    stands, passes = walk((0, 0.2, 0.4), (2, 0.5, 0.4), (30, 0.5, 0.4)), walk((0, 0.1, 0.8), (9, 0.9, 0.8))
    assert told(play(LOITERS, {1: stands, 2: passes}, 30), "zone.loitering") == []


def test_a_bag_without_its_owner_is_abandoned_until_it_is_taken() -> None:
    owner = walk((0, 0.1, 0.5), (1, 0.5, 0.5), (2, 0.5, 0.5), (3, 0.9, 0.5))
    taken = walk((1, 0.5, 0.5), (30, 0.5, 0.5), (32, 0.9, 0.5))
    events = play(LEFT_BEHIND, {1: taken, 2: owner}, 32, classes=BAG)
    begins, ends = (event for event in events if event.type.value in ("zone.abandoned", "zone.cleared"))
    assert begins.pts_ns / NS == pytest.approx(11, abs=0.1)
    assert begins.duration_s == pytest.approx(10, abs=0.1)
    assert ends.pts_ns / NS == pytest.approx(30.3, abs=0.3)
    assert {event.track_id for event in events if event.place} == {1}


def test_a_bag_whose_owner_stays_is_not_abandoned() -> None:
    owner = walk((0, 0.52, 0.5), (40, 0.54, 0.5))
    assert told(play(LEFT_BEHIND, {1: LIES, 2: owner}, 40, classes=BAG), "zone.abandoned") == []


def test_an_owner_who_is_hidden_for_a_moment_has_stayed() -> None:
    def hidden_now_and_then(t: float) -> tuple[float, float] | None:
        return None if 0.2 < t % 3 < 1.0 else (0.52, 0.5)

    events = play(LEFT_BEHIND, {1: LIES, 2: hidden_now_and_then}, 40, classes=BAG)
    assert told(events, "zone.abandoned") == []


def test_who_passes_by_is_no_owner() -> None:
    passers = {n + 2: walk((n * 4.0, 0.1, 0.5), (n * 4.0 + 4, 0.9, 0.5)) for n in range(8)}
    events = play(LEFT_BEHIND, {1: LIES, **passers}, 30, classes=BAG)
    (begins,) = (event for event in events if event.type is EventType.ZONE_ABANDONED)
    assert 11 <= begins.pts_ns / NS < 15, "not while somebody passes, but soon after"


def test_an_owner_who_comes_back_and_stays_clears_it_and_may_leave_it_again() -> None:
    back = walk((20, 0.9, 0.5), (21, 0.52, 0.5), (30, 0.52, 0.5), (31, 0.9, 0.5))
    events = play(LEFT_BEHIND, {1: LIES, 2: back}, 50, classes=BAG)
    begins, cleared, again, end = (event for event in events if event.type.value in ("zone.abandoned", "zone.cleared"))
    assert cleared.pts_ns / NS == pytest.approx(21 + OWNER_STAYS_NS / NS, abs=1)
    assert again.pts_ns / NS == pytest.approx(40, abs=1)
    assert (begins.number, again.number, end.reason) == (1, 2, EndReason.SESSION_ENDED)


def test_only_what_is_of_the_zones_classes_is_abandoned() -> None:
    assert of_rules(play(LEFT_BEHIND, {1: LIES}, 30, classes={1: 1})) == []


corner = st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
ALL = ZoneConfig(
    polygon=[(0.2, 0.0), (0.9, 0.0), (0.9, 0.8), (0.2, 0.8)], stopped=0.5, loiter=1, abandoned=0.5, dwell=1, crowd=2,
    classes=("car", "backpack"), speed_over=0.2, hold=0.1,
)  # fmt: skip


@given(
    st.lists(st.lists(corner, min_size=2, max_size=10), min_size=1, max_size=3),
    st.lists(st.booleans(), min_size=7, max_size=7), st.sampled_from([4.0, 12.5]),
)  # fmt: skip
def test_whatever_happens_each_beginning_has_its_end_within_the_stay(
    ways: list[list[tuple[float, float]]], seen: list[bool], fps: float
) -> None:
    """Ways with pauses, and frames in which nobody is seen."""
    paths = {n + 1: walk(*[(t * 0.7, *way[t // 2]) for t in range(2 * len(way))]) for n, way in enumerate(ways)}
    script = Script(
        {"zone": ALL}, fps=fps, classes={1: 2, 2: 0, 3: 1}, size=(9, 9), kept=lambda t: seen[int(t * 3) % 7]
    )
    open_now: Counter[tuple[int, EventType]] = Counter()
    inside: set[int] = set()
    events = script.play(paths, 16)
    for event in events:
        if event.type is EventType.ZONE_ENTERED:
            inside.add(event.track_id)
        for begin, end in ENDS.items() - {(EventType.TRACK_STARTED, EventType.TRACK_ENDED)}:
            if event.type in (begin, end) and begin is not EventType.ZONE_ENTERED:
                assert event.track_id in inside
                open_now[event.track_id, begin] += 1 if event.type is begin else -1
                assert open_now[event.track_id, begin] in (0, 1)
                assert event.duration_s is not None
                assert event.duration_s >= 0
        if event.type is EventType.ZONE_LEFT:
            assert not any(count for (track_id, _), count in open_now.items() if track_id == event.track_id)
            inside.remove(event.track_id)
    assert not inside
    assert len({event.event_id for event in events}) == len(events)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"abandoned": 10}, "wants `classes`"),
        ({"abandoned": 10, "classes": ["person", "backpack"]}, "person: in `classes` and in `owners`"),
        ({"stopped": 0}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ZoneConfig.model_validate({"polygon": WHOLE.polygon, **settings})
