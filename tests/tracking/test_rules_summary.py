"""A track's end says what it was: where it went, when its picture was best, what it was taken for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString, Point

from ingest.clock import NS, Clock
from ingest.frame import Frame
from tests.tracking.scripted import HEIGHT, IMAGE, MIDDLE, NAMES, THROUGH, WHOLE, WIDTH, Path, Script, walk
from tracking.events import EventType, TrackSummary
from tracking.lifecycle import MOST_TOLD, Lifecycle
from tracking.path import thinned
from tracking.tracks import Tracks


def summary_of(path: Path, seconds: float, **settings: object) -> TrackSummary:
    (end,) = (one for one in Script(**settings).play({1: path}, seconds) if one.type is EventType.TRACK_ENDED)  # type: ignore[arg-type]
    assert end.summary is not None
    return end.summary


def test_a_straight_way_is_told_in_two_points() -> None:
    summary = summary_of(THROUGH, 4)
    (began_s, x, y), (ended_s, to_x, to_y) = summary.path
    assert (began_s, ended_s) == (0, 3.96)
    assert (x, y) == pytest.approx((0.5 * WIDTH, 0.05 * HEIGHT), abs=0.1)
    assert (to_x, to_y) == pytest.approx((0.5 * WIDTH, 0.941 * HEIGHT), abs=0.1)
    assert summary.duration_s == 3.96
    assert summary.distance == pytest.approx(0.89, abs=0.02)


def test_corners_are_kept_with_their_times() -> None:
    summary = summary_of(walk((0, 0.2, 0.3), (4, 0.8, 0.3), (8, 0.8, 0.9)), 8)
    assert len(summary.path) == 3
    at_s, x, y = summary.path[1]
    assert (at_s, x, y) == pytest.approx((4, 0.8 * WIDTH, 0.3 * HEIGHT), abs=0.6)


def test_a_long_way_about_stays_small() -> None:
    def about(t: float) -> tuple[float, float]:
        return 0.5 + 0.4 * math.sin(1.3 * t), 0.6 + 0.3 * math.sin(1.7 * t)

    summary = summary_of(about, 300)
    assert len(summary.path) <= MOST_TOLD
    assert (summary.path[0][0], summary.path[-1][0]) == (0.0, 299.96)
    times = [at_s for at_s, _, _ in summary.path]
    assert times == sorted(times)


def test_who_trembles_for_an_hour_goes_nowhere() -> None:
    shifts = np.random.default_rng(1).normal(0, 0.001, (1000, 2))
    summary = summary_of(lambda t: tuple(0.5 + shifts[round(t * 5) % 1000]), 900, fps=5)  # type: ignore[arg-type, return-value]
    assert summary.distance == 0
    assert len(summary.path) == 2


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=128), st.integers(2, 40))
def test_a_thinned_path_has_its_ends_and_only_points_of_it(places: list[tuple[float, float]], most: int) -> None:
    path = np.array([(float(t), x, y) for t, (x, y) in enumerate(places)])
    kept = thinned(path, most, 16 / 9)
    assert 2 <= len(kept) <= max(2, most)
    assert kept[[0, -1]] == pytest.approx(path[[0, -1]])
    assert set(kept[:, 0]) <= set(path[:, 0])
    assert kept == pytest.approx(path[kept[:, 0].astype(int)])


def test_a_thinned_path_stays_near_the_path() -> None:
    t = np.linspace(0, 20, 128)
    path = np.column_stack([t, 0.5 + 0.02 * t * np.sin(t), 0.5 + 0.02 * t * np.cos(t)])
    way = LineString(thinned(path, MOST_TOLD, 1.0)[:, 1:])
    assert max(way.distance(Point(x, y)) for _, x, y in path) < 0.03


def test_zones_are_told_in_the_order_of_the_visits_and_only_once() -> None:
    lower = WHOLE.model_copy(update={"polygon": [(0, 0.8), (1, 0.8), (1, 1), (0, 1)]})
    cars = WHOLE.model_copy(update={"classes": ("car",)})
    there_and_back = walk((0, 0.5, 0.1), (3, 0.5, 0.95), (6, 0.5, 0.3), (7, 0.5, 0.5))
    summary = summary_of(there_and_back, 7, zones={"lower": lower, "middle": MIDDLE, "cars": cars})
    assert summary.zones == ("middle", "lower")


def test_the_best_view_is_sure_large_central_and_whole() -> None:
    followed = Lifecycle("gate", 1, 1.0, NAMES, {}, {})
    views = [  # box, score
        ((60, 30, 80, 70), 0.6),
        ((125, 20, 155, 75), 0.9),  # at the side
        ((60, 20, 90, 75), 0.9),  # the one
        ((60, 20, 90, 75), 0.8),  # less sure
        ((0, 0, 70, 90), 0.9),  # larger, but cut off
        ((70, 40, 80, 60), 0.95),  # small
    ]
    for seq, (box, score) in enumerate(views):
        frame = Frame("gate", 1, seq, seq * NS // 10, 0, NS + seq, Clock.ARRIVAL, None, IMAGE)
        class_id = 1 if seq in (0, 2, 3, 5) else 0
        followed.update(frame, Tracks(
            np.array([1]), np.array([box], np.float32), np.array([score], np.float32), np.array([class_id], np.int32),
            np.array([0], np.int32),
        ))  # fmt: skip
    end = followed.finish()[-1]
    assert end.summary is not None
    best = end.summary.best
    assert (best.seq, best.pts_ns, best.captured_at, best.box) == (2, NS // 5, NS + 2, (60, 20, 90, 75))
    assert best.confidence == pytest.approx(0.9)
    assert NAMES[end.class_id] == "car"
    assert end.summary.class_confidence == pytest.approx((0.6 + 0.9 + 0.8 + 0.95) / 4)
    assert end.confidence == pytest.approx(0.95)


def test_more_tracks_than_there_were_rows_for_are_kept_apart() -> None:
    paths = {n: walk((n * 0.01, 0.1 + n * 0.008, 0.1), (2 + n * 0.01, 0.1 + n * 0.008, 0.9)) for n in range(1, 101)}
    events = Script(zones={"zone": MIDDLE}, fps=10).play(paths, 5)
    ends = {event.track_id: event.summary for event in events if event.type is EventType.TRACK_ENDED}
    assert len(ends) == 100
    for track_id, summary in ends.items():
        assert summary is not None
        assert summary.path[0][1] == pytest.approx((0.1 + track_id * 0.008) * WIDTH, abs=0.01)
    entered = {event.track_id for event in events if event.type is EventType.ZONE_ENTERED}
    assert entered == {n for n in paths if 0.25 * WIDTH + 1 < (0.1 + n * 0.008) * WIDTH < 0.75 * WIDTH - 1}
