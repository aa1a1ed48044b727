"""What changes of a track is told between its start and its end: not too often, and in the end all of it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.clock import NS
from tests.tracking.scripted import MIDDLE, NAMES, WHOLE, Script, walk
from tests.tracking.test_lifecycle import MS, frame
from tracking.events import BestView, Change, Event, EventType, Identity
from tracking.lifecycle import Lifecycle
from tracking.rules.config import ZoneConfig
from tracking.tracks import Tracks
from tracking.updates import CLEARLY

PAUSE_S = 1.0
PAUSE_NS = round(PAUSE_S * NS)
HALF = {"left": ZoneConfig(polygon=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)], hold=0, margin=0.01)}


def lifecycle(pause_s: float | None = PAUSE_S, zones: dict[str, ZoneConfig] | None = None) -> Lifecycle:
    return Lifecycle("gate", 7, 0.5, NAMES, zones or {}, {}, updates_s=pause_s)


def one(score: float, *ids: int, seen: bool = True) -> Tracks:
    """Tracks in the middle of a picture of 64 by 48, of a quality that goes with the score."""
    count = len(ids)
    return Tracks(
        np.array(ids, np.int64), np.array([[22, 14, 42, 34]] * count, np.float32).reshape(-1, 4),
        np.full(count, score, np.float32), np.zeros(count, np.int32),
        np.arange(count, dtype=np.int32) if seen else np.full(count, -1, np.int32),
    )  # fmt: skip


def updates(events: list[Event]) -> list[Event]:
    return [event for event in events if event.type is EventType.TRACK_UPDATED]


def changed(events: list[Event]) -> list[set[str]]:
    return [set(event.update.changed) for event in updates(events) if event.update is not None]


def test_a_clearly_better_view_is_told_when_the_pause_since_the_start_is_over() -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), one(0.4, 1))
    assert not updates(followed.update(frame(1, 300 * MS), one(0.8, 1)))
    assert not updates(followed.update(frame(2, 600 * MS), one(0.3, 1)))
    assert not updates(followed.update(frame(3, PAUSE_NS - 1), one(0.3, 1)))
    (event,) = updates(followed.update(frame(4, PAUSE_NS), one(0.3, 1)))
    assert event.update is not None
    assert event.update.changed == (Change.BEST,)
    assert event.update.best == BestView(
        1, 300 * MS, event.update.best.captured_at, (22, 14, 42, 34), pytest.approx(0.8)
    )
    assert (event.seq, event.pts_ns, event.number) == (4, PAUSE_NS, 1)
    assert event.event_id == "gate-7-1-track.updated-1"


@pytest.mark.parametrize(("better", "told"), [(CLEARLY * 1.001, 1), (CLEARLY * 0.999, 0)])
def test_a_view_that_is_hardly_better_is_not_told(better: float, told: int) -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), one(0.5, 1))
    events = [event for n in range(1, 9) for event in followed.update(frame(n, n * 400 * MS), one(0.5 * better, 1))]
    assert len(updates(events)) == told


def test_after_an_update_better_is_better_than_what_it_told() -> None:
    followed = lifecycle()
    scores = [0.2, 0.26, 0.27, 0.33, 0.34, 0.5]
    events = [event for n, score in enumerate(scores) for event in followed.update(
        frame(n, n * PAUSE_NS // 2), one(score, 1))]  # fmt: skip
    assert [event.update.best.confidence for event in updates(events) if event.update] == [
        pytest.approx(0.27), pytest.approx(0.34),
    ]  # fmt: skip
    assert [event.number for event in updates(events)] == [1, 2]


def test_a_zone_is_told_with_the_zones_so_far_and_the_speed() -> None:
    script = Script(zones={"all": WHOLE, "middle": MIDDLE}, updates_s=1.0)
    events = script.play({1: walk((0, 0.05, 0.5), (4, 0.95, 0.5))}, 4.5)
    told = updates(events)
    assert [event.update.zones for event in told if event.update] == [("all",), ("all", "middle")]
    assert all("zones" in what for what in changed(events))
    assert told[-1].motion is not None and told[-1].motion.speed == pytest.approx(0.9 / 4 * 16 / 9, rel=0.05)


def test_who_a_track_is_is_told_at_once_and_with_all_that_follows() -> None:
    followed = lifecycle()
    start = followed.update(frame(0, 0), one(0.5, 1))[0]
    assert start.identity is None
    who = Identity("m1-4", 0.75)
    followed.identified(1, who)
    (event,) = followed.update(frame(1, 40 * MS), one(0.5, 1))
    assert changed([event]) == [{"identity"}]
    assert event.identity == who
    (end,) = followed.finish()
    assert end.identity == who
    assert followed.identities == {}


def test_who_a_track_is_takes_along_what_waits_and_begins_another_pause() -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), one(0.4, 1))
    followed.update(frame(1, 400 * MS), one(0.6, 1))
    followed.identified(1, Identity("m1-1", 1.0))
    assert changed(followed.update(frame(2, 500 * MS), one(0.6, 1))) == [{"best", "identity"}]
    followed.update(frame(3, 900 * MS), one(0.9, 1))
    assert changed(followed.update(frame(4, 500 * MS + PAUSE_NS - 1), one(0.9, 1))) == []
    assert changed(followed.update(frame(5, 500 * MS + PAUSE_NS), one(0.9, 1))) == [{"best"}]


def test_a_track_that_is_not_seen_is_told_of_when_it_is_seen_again() -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), one(0.5, 1))
    followed.identified(1, Identity("m1-1", 1.0))
    moved = one(0.5, 1).moved_to(np.array([[30, 14, 50, 34]], np.float32))
    assert followed.update(frame(1, 40 * MS), moved) == []
    assert changed(followed.update(frame(2, 80 * MS), one(0.5, 1))) == [{"identity"}]


def test_an_answer_about_a_track_that_has_ended_is_too_late() -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), one(0.5, 1))
    followed.update(frame(1, 2 * NS), one(0.5))
    followed.identified(1, Identity("m1-1", 1.0))
    assert followed.identities == {}


def test_without_a_pause_nothing_is_told() -> None:
    followed = lifecycle(None)
    followed.update(frame(0, 0), one(0.2, 1))
    followed.identified(1, Identity("m1-1", 1.0))
    assert [event for n in range(1, 9) for event in followed.update(frame(n, n * NS // 3), one(0.9, 1))] == []


def test_a_new_track_in_the_place_of_another_begins_afresh() -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), one(0.9, 1))
    followed.identified(1, Identity("m1-1", 1.0))
    followed.update(frame(1, 10 * NS), one(0.2, 2))
    (event,) = updates(followed.update(frame(2, 10 * NS + PAUSE_NS), one(0.3, 2)))
    assert (event.track_id, event.number, event.identity) == (2, 1, None)


def test_a_crowd_of_a_hundred_tells_no_more_than_its_pause_allows() -> None:
    followed = lifecycle(5.0)
    people = range(1, 101)
    rng = np.random.default_rng(0)
    events = [event for n in range(250) for event in followed.update(
        frame(n, n * 40 * MS), one(float(min(0.01 * 1.02 ** n * rng.uniform(0.5, 2), 1)), *people))]  # fmt: skip
    assert 0 < len(updates(events)) <= 100


steps = st.lists(
    st.tuples(
        st.integers(1, 700),  # ms since the frame before
        st.dictionaries(st.integers(1, 4), st.tuples(st.floats(0.01, 1), st.floats(0, 1)), max_size=4),
        st.sets(st.integers(1, 4), max_size=1),  # who is identified
    ),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(steps)
def test_updates_lie_within_a_track_keep_their_pause_and_lose_nothing(
    sequence: list[tuple[int, dict[int, tuple[float, float]], set[int]]],
) -> None:
    followed = lifecycle(zones=HALF)
    alive: set[int] = set()
    told_at: dict[int, int] = {}
    told_who: set[tuple[int, str]] = set()
    zones: defaultdict[int, set[str]] = defaultdict(set)
    numbers: defaultdict[int, int] = defaultdict(int)
    now = 0
    ids = []
    lives: defaultdict[int, int] = defaultdict(int)  # trackers never use an id again
    for seq, (step_ms, places, known_places) in enumerate(sequence):
        now += step_ms * MS
        people = {place + 4 * lives[place]: seen for place, seen in places.items()}
        known = {place + 4 * lives[place] for place in known_places}
        for track_id in known:
            followed.identified(track_id, Identity(f"m1-{seq}", 0.5))
        rows = sorted(people)
        boxes = [[20 * people[one][1], 10, 20 * people[one][1] + 30, 40] for one in rows]
        tracks = Tracks(
            np.array(rows, np.int64), np.array(boxes, np.float32).reshape(-1, 4),
            np.array([people[one][0] for one in rows], np.float32), np.zeros(len(rows), np.int32),
            np.arange(len(rows), dtype=np.int32),
        )  # fmt: skip
        for event in followed.update(frame(seq, now), tracks):
            ids.append(event.event_id)
            match event.type:
                case EventType.TRACK_STARTED:
                    alive.add(event.track_id)
                    told_at[event.track_id] = now
                case EventType.TRACK_ENDED:
                    alive.remove(event.track_id)
                    lives[(event.track_id - 1) % 4 + 1] += 1
                    zones.pop(event.track_id, None)
                    numbers.pop(event.track_id, None)
                case EventType.TRACK_UPDATED:
                    assert event.update is not None and event.update.changed
                    assert event.track_id in alive, "never before the start, never after the end"
                    assert event.track_id in people and event.pts_ns == now
                    numbers[event.track_id] += 1
                    assert event.number == numbers[event.track_id]
                    if Change.IDENTITY in event.update.changed:
                        assert event.identity is not None
                        told_who.add((event.track_id, event.identity.global_id))
                    else:
                        assert now - told_at[event.track_id] >= PAUSE_NS
                    assert (set(event.update.zones) != zones[event.track_id]) == (Change.ZONES in event.update.changed)
                    zones[event.track_id] = set(event.update.zones)
                    told_at[event.track_id] = now
        for track_id in alive & people.keys():
            who = followed.identities.get(track_id)
            assert who is None or (track_id, who.global_id) in told_who, "who is seen is named at once"
            if now - told_at[track_id] >= PAUSE_NS:
                visited = set(followed._visited[track_id])
                assert visited == zones[track_id], "what changed within the pause is told when it is over"
    followed.finish()
    assert len(set(ids)) == len(ids)
