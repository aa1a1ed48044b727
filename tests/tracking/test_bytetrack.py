"""ByteTrack as Vigil uses it: ids of each tracker's own, by media time, in flat memory."""

from __future__ import annotations

import pickle

import av
import numpy as np
import pytest
from boxmot import ByteTrack as BoxmotByteTrack
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.detections import Detections
from inference.found import Found
from inference.letterbox import Letterbox
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.trackers import Tracker, new_tracker
from tracking.trackers.bytetrack import ByteTracker, _update
from tracking.tracks import Tracks

RATE = 10.0
STEP_NS = NS // 10
CONFIG = TrackerConfig(lost_after=1.0)
IMAGE = av.VideoFrame(320, 240, "yuv420p")


def seen(*boxes: tuple[float, float], score: float = 0.9, class_id: int = 0, size: float = 60.0) -> Detections:
    """Square boxes by their upper left corners."""
    corners = np.array(boxes, np.float32).reshape(-1, 2)
    count = len(corners)
    return Detections(
        np.hstack([corners, corners + np.float32(size)]),
        np.full(count, score, np.float32),
        np.full(count, class_id, np.int32),
    )


def at(pts_ns: int) -> Frame:
    return Frame("gate", 1, 0, pts_ns, 0, 0, Clock.ARRIVAL, None, IMAGE)


def follow(tracker: Tracker, path: list[Detections], start_ns: int = 0) -> list[list[int]]:
    return [tracker.update(found, at(start_ns + n * STEP_NS)).track_ids.tolist() for n, found in enumerate(path)]


def test_frames_with_no_object_one_and_several_take_the_same_compiled_function() -> None:
    """Compiling another takes seconds, in which a worker serves nobody."""
    tracker = new_tracker(CONFIG, RATE)
    follow(tracker, [seen((0, 0)), seen((0, 0), (200, 200))])
    compiled = len(_update.signatures)  # type: ignore[attr-defined]
    for count in range(3):
        rows = np.frombuffer(np.full((count, 6), 0.9, np.float32).tobytes(), np.float32).reshape(count, 6)  # as it came
        tracker.update(Detections.in_source(Found(rows), Letterbox.fit(320, 240, 320)), at((count + 2) * STEP_NS))
    assert len(_update.signatures) == compiled  # type: ignore[attr-defined]


def test_the_tracker_is_chosen_by_name() -> None:
    assert isinstance(new_tracker(TrackerConfig(kind="bytetrack"), RATE), ByteTracker)
    assert isinstance(new_tracker(TrackerConfig(kind="tracking.trackers.bytetrack:ByteTracker"), RATE), ByteTracker)
    with pytest.raises(ValueError, match="is no tracker; use bytetrack, .*, or module:Class"):
        TrackerConfig(kind="sort")


def test_a_moving_box_keeps_its_id() -> None:
    ids = follow(ByteTracker(CONFIG, RATE), [seen((10 + 8 * n, 50 + 3 * n)) for n in range(40)])
    assert ids[5:] == [[1]] * 35


def test_two_interleaved_trackers_both_count_from_one() -> None:
    first, second = ByteTracker(CONFIG, RATE), ByteTracker(CONFIG, RATE)
    ours, theirs = [], []
    for n in range(20):
        ours.append(first.update(seen((10 + 5 * n, 10), (300, 200)), at(n * STEP_NS)).track_ids.tolist())
        theirs.append(second.update(seen((400 - 5 * n, 90)), at(n * STEP_NS)).track_ids.tolist())
    assert all(sorted(ids) == [1, 2] for ids in ours[5:])
    assert all(ids == [1] for ids in theirs[5:])


def test_a_new_tracker_does_not_give_an_old_ones_ids_away() -> None:
    first = ByteTracker(CONFIG, RATE)
    follow(first, [seen((10, 10))] * 5)
    follow(ByteTracker(CONFIG, RATE), [seen((10, 10), (200, 10), (400, 10))] * 5)
    both = follow(first, [seen((10, 10), (500, 300))] * 5, start_ns=5 * STEP_NS)
    assert sorted(both[-1]) == [1, 2]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_a_tracker_does_as_it_would_alone(turns: list[tuple[bool, int]]) -> None:
    """Whatever a second tracker sees between its frames, and however often that one is made anew."""
    alone, beside, other = ByteTracker(CONFIG, RATE), ByteTracker(CONFIG, RATE), ByteTracker(CONFIG, RATE)
    places = [(10.0, 10.0), (200.0, 10.0), (400.0, 10.0)]
    for n, (renew, count) in enumerate(turns):
        if renew:
            other = ByteTracker(CONFIG, RATE)
        other.update(seen(*places), at(n * STEP_NS))
        found = seen(*places[:count])
        expected, got = alone.update(found, at(n * STEP_NS)), beside.update(found, at(n * STEP_NS))
        assert got.track_ids.tolist() == expected.track_ids.tolist()
        assert np.array_equal(got.boxes, expected.boxes)


def test_detection_rows_point_to_the_boxes() -> None:
    tracker = ByteTracker(CONFIG, RATE)
    rng = np.random.default_rng(3)
    places = np.array([(50, 50), (300, 50), (50, 300), (300, 300), (550, 180)], np.float32)
    id_of_place: dict[int, int] = {}
    for n in range(30):
        order = rng.permutation(len(places))
        found = seen(*(places[order] + n).tolist())
        tracks = tracker.update(found, at(n * STEP_NS))
        assert len(set(tracks.detection_rows.tolist())) == len(tracks) or -1 in tracks.detection_rows
        for index, row in enumerate(tracks.detection_rows.tolist()):
            assert row >= 0
            assert np.abs(tracks.boxes[index] - found.boxes[row]).max() < 10
            assert id_of_place.setdefault(int(order[row]), int(tracks.track_ids[index])) == tracks.track_ids[index]
    assert sorted(id_of_place.values()) == [1, 2, 3, 4, 5]


def test_rows_and_classes_belong_together_among_weak_boxes() -> None:
    """Weak boxes before the strong ones shift rows, if anybody counts only the strong."""
    tracker = ByteTracker(CONFIG, RATE)
    for n in range(10):
        found = Detections(
            np.array([[400, 10, 460, 70], [600, 10, 660, 70], [10, 10, 70, 70]], np.float32),
            np.array([0.05, 0.2, 0.9], np.float32),
            np.array([2, 5, 7], np.int32),
        )
        tracks = tracker.update(found, at(n * STEP_NS))
    assert tracks.detection_rows.tolist() == [2]
    assert tracks.class_ids.tolist() == [7]
    assert tracks.scores.tolist() == pytest.approx([0.9])


def test_a_weak_box_keeps_a_known_track_going_but_starts_none() -> None:
    tracker = ByteTracker(CONFIG, RATE)
    assert not any(follow(tracker, [seen((10, 10), score=0.2)] * 5))
    follow(tracker, [seen((10, 10))] * 5, start_ns=5 * STEP_NS)
    assert follow(tracker, [seen((10, 10), score=0.2)] * 20, start_ns=10 * STEP_NS) == [[1]] * 20


def absent(frames: int) -> list[list[int]]:
    path = [seen((50, 50))] * 5 + [Detections.empty()] * frames + [seen((50, 50))] * 5
    return follow(ByteTracker(CONFIG, RATE), path)


def test_an_object_back_in_time_keeps_its_id() -> None:
    assert absent(5)[-1] == [1]


def test_an_object_lost_for_too_long_gets_a_new_id() -> None:
    assert absent(15)[-1] == [2]


@pytest.mark.parametrize(("away_ns", "expected"), [(NS, [1]), (NS + 1, [2])], ids=["at the limit", "beyond it"])
def test_time_decides_not_the_number_of_frames(away_ns: int, expected: list[int]) -> None:
    """The frames between were dropped: counting frames, the object would still be known."""
    tracker = ByteTracker(CONFIG, RATE)
    follow(tracker, [seen((50, 50))] * 5)
    last = 4 * STEP_NS
    assert follow(tracker, [seen((50, 50))] * 2, start_ns=last + away_ns)[-1] == expected


def test_nothing_seen_is_no_tracks() -> None:
    tracks = ByteTracker(CONFIG, RATE).update(Detections.empty(), at(0))
    assert len(tracks) == 0
    assert tracks.boxes.shape == (0, 4)


@pytest.mark.parametrize("rate", [0.2, 1.0, 240.0])
def test_any_frame_rate_works(rate: float) -> None:
    tracker = ByteTracker(CONFIG, rate)
    for n in range(5):
        tracks = tracker.update(seen((50, 50)), at(round(n * NS / rate)))
    assert len(tracks) == 1


def test_removed_tracks_do_not_pile_up() -> None:
    """A new object every four frames: after 2000 frames no more tracks are remembered than after 400."""
    tracker = ByteTracker(TrackerConfig(lost_after=0.3), RATE)

    def remembered_after(frames: range) -> int:
        for n in frames:
            place = (float(n // 4 * 170 % 1900), float(n // 4 * 90 % 1000))
            tracker.update(seen(place), at(n * STEP_NS))
        return len(pickle.dumps(tracker))

    early, late = remembered_after(range(400)), remembered_after(range(400, 2000))
    assert late - early < 1000


def test_tracks_are_boxmots_at_a_steady_rate() -> None:
    """Objects that cross, vanish for a while and are missed now and then."""
    rng = np.random.default_rng(5)
    reference = BoxmotByteTrack(min_conf=0.1, track_thresh=0.4, match_thresh=0.8, track_buffer=30, frame_rate=10)
    ours = ByteTracker(TrackerConfig(lost_after=1.15), RATE)  # BoxMOT's last look is two frames late
    places, speeds = rng.uniform(0, 800, (12, 2)), rng.normal(0, 6, (12, 2))
    names: dict[int, int] = {}
    matched = 0
    for n in range(120):
        places += speeds
        present = rng.random(12) > 0.15
        corners = (places + rng.normal(0, 2, (12, 2)))[present].astype(np.float32)
        found = Detections(
            np.hstack([corners, corners + np.array([50, 120], np.float32)]),
            rng.uniform(0.15, 0.95, len(corners)).astype(np.float32),
            np.zeros(len(corners), np.int32),
        )
        tracks = ours.update(found, at(n * STEP_NS))
        rows = np.column_stack([found.boxes, found.scores, found.class_ids]).astype(np.float32)
        expected = {int(row[7]): row for row in reference.update(rows)}
        assert set(tracks.detection_rows.tolist()) == set(expected)
        for row, track_id, box in zip(tracks.detection_rows, tracks.track_ids, tracks.boxes, strict=True):
            theirs = expected[int(row)]
            assert names.setdefault(int(theirs[4]), int(track_id)) == track_id
            assert box == pytest.approx(theirs[:4], abs=0.05)
            matched += 1
    assert matched > 800


def test_a_moving_object_is_found_again_when_frames_between_were_dropped() -> None:
    """At a third of the rate, a box that moves by most of its width between two looks keeps its id."""
    path = [seen((10 + 20 * n, 50)) for n in range(60)]
    tracker = ByteTracker(CONFIG, RATE)
    follow(tracker, path[:15])
    ids = [tracker.update(path[n], at(n * STEP_NS)).track_ids.tolist() for n in range(17, 60, 3)]
    assert ids == [[1]] * len(ids)


BASE = Tracks.empty()


def test_no_tracks_have_the_promised_types() -> None:
    assert len(BASE) == 0
    assert BASE.track_ids.dtype == np.int64
    assert BASE.boxes.dtype == BASE.scores.dtype == np.float32
    assert BASE.class_ids.dtype == BASE.detection_rows.dtype == np.int32


@pytest.mark.parametrize("wrong", ["track_ids", "boxes", "scores", "class_ids", "detection_rows"])
def test_a_wrong_array_is_refused_by_name(wrong: str) -> None:
    good = {
        "track_ids": np.ones(2, np.int64),
        "boxes": np.zeros((2, 4), np.float32),
        "scores": np.zeros(2, np.float32),
        "class_ids": np.zeros(2, np.int32),
        "detection_rows": np.zeros(2, np.int32),
    }
    assert len(Tracks(**good)) == 2  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^{wrong} must be"):
        Tracks(**{**good, wrong: good[wrong].astype(np.float16)})  # type: ignore[arg-type]
    if wrong != "track_ids":
        with pytest.raises(ValueError, match=f"^{wrong} must be"):
            Tracks(**{**good, wrong: good[wrong][:1]})  # type: ignore[arg-type]


def test_tracks_coast_by_their_motion_and_go_on_as_if_they_had_not() -> None:
    path = [seen((10 + 8 * n, 50), (400, 100 + 4 * n)) for n in range(20)]
    coasting, alone = ByteTracker(CONFIG, RATE), ByteTracker(CONFIG, RATE)
    for n in range(0, 18, 3):
        assert coasting.update(path[n], at(n * STEP_NS)).track_ids.tolist() == [1, 2]
        expected = alone.update(path[n], at(n * STEP_NS))
        for later in (n + 1, n + 2):
            tracks = coasting.coast(at(later * STEP_NS))
            assert tracks.track_ids.tolist() == [1, 2] and tracks.detection_rows.tolist() == [-1, -1]
            if n > 9:  # by now it knows how they move
                np.testing.assert_allclose(tracks.boxes, path[later].boxes, atol=3)
    np.testing.assert_array_equal(coasting.update(path[18], at(18 * STEP_NS)).boxes,
                                  alone.update(path[18], at(18 * STEP_NS)).boxes)  # fmt: skip
    assert expected.track_ids.tolist() == [1, 2]


def test_held_tracks_do_not_age_and_stay_where_they_were() -> None:
    tracker = ByteTracker(CONFIG, RATE)
    last = [tracker.update(seen((50, 50), (200, 50)), at(n * STEP_NS)) for n in range(3)][-1]
    tracker.update(seen((50, 50)), at(3 * STEP_NS))  # the other one is lost
    for n in range(4, 104):  # ten times what a lost track lives
        assert tracker.hold(at(n * STEP_NS)).track_ids.tolist() == [1]
    held = tracker.hold(at(104 * STEP_NS))
    np.testing.assert_allclose(held.boxes, last.boxes[:1], atol=1)
    assert tracker.update(seen((50, 50), (200, 50)), at(105 * STEP_NS)).track_ids.tolist() == [1, 2]


def test_before_the_first_frame_there_is_nothing_to_coast_or_hold() -> None:
    assert len(ByteTracker(CONFIG, RATE).coast(at(0))) == 0
    assert len(ByteTracker(CONFIG, RATE).hold(at(0))) == 0
