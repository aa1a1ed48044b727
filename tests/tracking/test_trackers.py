"""Every tracker of the table: by media time, apart from others, and where it is BoxMOT's, as BoxMOT itself tracks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from inference.detections import Detections
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import APPEARANCE, TrackerConfig
from tracking.trackers import TRACKERS, Tracker, needs_features, new_tracker, wants_features
from tracking.trackers.boxmot import KINDS, BoxmotTracker
from tracking.trackers.torch_later import torch_later
from tracking.tracks import Tracks

with torch_later():
    from boxmot.trackers.box.boosttrack.tracker import BoostTrack
    from boxmot.trackers.box.botsort.tracker import BotSort
    from boxmot.trackers.box.deepocsort.tracker import DeepOcSort
    from boxmot.trackers.box.hybridsort.tracker import HybridSort
    from boxmot.trackers.box.ocsort.tracker import OcSort
    from boxmot.trackers.box.strongsort.tracker import StrongSort

RATE = 10.0
STEP_NS = NS // 10
IMAGE = av.VideoFrame(64, 48, "yuv420p")
LOOKS = np.eye(8, dtype=np.float32)  # of objects that have nothing in common

every_kind = pytest.mark.parametrize("kind", TRACKERS)


def at(pts_ns: int, image: av.VideoFrame = IMAGE) -> Frame:
    return Frame("gate", 1, 0, pts_ns, 0, 0, Clock.ARRIVAL, None, image)


def seen(*corners: tuple[float, float], classes: Iterable[int] | None = None, looks: Iterable[int] | None = None,
         score: float = 0.9) -> Detections:  # fmt: skip
    """Boxes of 40 x 80 by their upper left corners; each looks like itself, in the order they are given."""
    upper = np.array(corners, np.float32).reshape(-1, 2)
    count = len(upper)
    return Detections(
        np.hstack([upper, upper + np.array([40, 80], np.float32)]),
        np.full(count, score, np.float32),
        np.fromiter(classes if classes is not None else [0] * count, np.int32, count),
        features=LOOKS[list(looks if looks is not None else range(count))],
    )


def follow(tracker: Tracker, path: list[Detections], start_ns: int = 0) -> list[list[int]]:
    return [tracker.update(found, at(start_ns + n * STEP_NS)).track_ids.tolist() for n, found in enumerate(path)]


def tracker_of(kind: str, **settings: Any) -> Tracker:
    return new_tracker(TrackerConfig(kind=kind, **settings), RATE)


# -- on real detections, beside BoxMOT


def recorded(data: Path, frames: int) -> list[Detections]:
    """The first frames of a sequence, as a detector really saw them; looks are made up, alike where boxes are."""
    rows = np.loadtxt(data / "mot/MOT15/PETS09-S2L1/det/det.txt", delimiter=",", dtype=np.float32)
    noise = np.random.default_rng(0)
    found = []
    for frame in range(1, frames + 1):
        mine = rows[rows[:, 0] == frame]
        boxes = np.hstack([mine[:, 2:4], mine[:, 2:4] + mine[:, 4:6]])
        looks = np.hstack([mine[:, 2:4] / 300, mine[:, 4:6] / 50, np.ones((len(mine), 1))]).astype(np.float32)
        looks += noise.normal(0, 0.1, looks.shape).astype(np.float32)
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        found.append(Detections(boxes, mine[:, 6].copy(), np.zeros(len(mine), np.int32), features=looks))
    return found


def without_looks(path: list[Detections]) -> list[Detections]:
    return [Detections(found.boxes, found.scores, found.class_ids) for found in path]


class Looks:
    """Hands BoxMOT our features as if a ReID model had found them."""

    def __init__(self) -> None:
        self.features: NDArray[np.float32] = np.zeros((0, 1), np.float32)

    def get_features(self, boxes: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self.features


def boxmot_strongsort(looks: bool, **common: Any) -> Any:
    tracker = StrongSort(min_conf=0.9, max_cos_dist=0.2, max_iou_dist=0.7, n_init=3, mc_lambda=0.98, ema_alpha=0.9,
                         **common)  # fmt: skip
    tracker.cmc = None
    return tracker


def boxmot_botsort(looks: bool, max_age: int, **common: Any) -> Any:
    return BotSort(track_high_thresh=0.9, track_low_thresh=0.1, new_track_thresh=0.9, match_thresh=0.8,
                   proximity_thresh=0.5, appearance_thresh=0.25, fuse_first_associate=True, use_embeddings=looks,
                   use_cmc=False, track_buffer=max_age, frame_rate=30, **common)  # fmt: skip


def boxmot_ocsort(looks: bool, **common: Any) -> Any:
    return OcSort(det_thresh=0.9, min_conf=0.1, iou_threshold=0.3, min_hits=3, delta_t=3, inertia=0.2, **common)


def boxmot_deepocsort(looks: bool, **common: Any) -> Any:
    return DeepOcSort(det_thresh=0.9, iou_threshold=0.3, min_hits=3, delta_t=3, inertia=0.2, w_association_emb=0.75,
                      alpha_fixed_emb=0.95, use_embeddings=looks, cmc_off=True, **common)  # fmt: skip


def boxmot_hybridsort(looks: bool, **common: Any) -> Any:
    return HybridSort(det_thresh=0.9, track_thresh=0.9, low_thresh=0.1, iou_threshold=0.3, asso_func="hmiou",
                      min_hits=3, delta_t=3, inertia=0.05, use_byte=True, EG_weight_high_score=4.6,
                      EG_weight_low_score=1.3, alpha=0.9, use_embeddings=looks, cmc_method=None, **common)  # fmt: skip


def boxmot_boosttrack(looks: bool, **common: Any) -> Any:
    return BoostTrack(det_thresh=0.9, iou_threshold=0.3, min_hits=3, lambda_iou=0.5, lambda_mhd=0.25,
                      lambda_shape=0.25, use_rich_s=True, use_sb=True, use_vt=True, aspect_ratio_thresh=None,
                      use_embeddings=looks, use_cmc=False, **common)  # fmt: skip


DIRECT: dict[str, Callable[..., Any]] = {
    "strongsort": boxmot_strongsort, "botsort": boxmot_botsort, "ocsort": boxmot_ocsort,
    "deepocsort": boxmot_deepocsort, "hybridsort": boxmot_hybridsort, "boosttrack": boxmot_boosttrack,
}  # fmt: skip
MODES = [(kind, looks) for kind in DIRECT for looks in (True, False) if not (looks and kind == "ocsort")]


@pytest.mark.parametrize(("kind", "looks"), [mode for mode in MODES if mode != ("strongsort", False)])
def test_tracks_are_boxmots_at_a_steady_rate(kind: str, looks: bool, data: Path) -> None:
    """And those that BoxMOT finds again but keeps to itself for some frames."""
    path = recorded(data, 100)
    path = path if looks else without_looks(path)
    max_age = 8
    model = Looks()
    common = {"reid_model": model} if kind != "ocsort" and looks else {}
    direct = DIRECT[kind](looks, max_age=max_age, **common)
    # BoxMOT looks at a track for the last time one frame after its age, BoT-SORT two.
    lost_after = (max_age + (2.5 if kind == "botsort" else 1.5)) / RATE
    ours = tracker_of(kind, high_confidence=0.9, lost_after=lost_after)
    names: dict[int, int] = {}  # by BoxMOT's id
    told = told_sooner = 0
    for n, found in enumerate(path):
        tracks = ours.update(found, at(n * STEP_NS))
        if found.features is not None:
            model.features = found.features
        rows = np.column_stack([found.boxes, found.scores, found.class_ids]).astype(np.float32)
        expected = {int(row[7]): row for row in direct.update(rows, np.zeros((8, 8, 3), np.uint8))}
        assert set(tracks.detection_rows.tolist()) >= set(expected), f"frame {n}"
        for row, track_id, box in zip(tracks.detection_rows.tolist(), tracks.track_ids, tracks.boxes, strict=True):
            if (theirs := expected.get(row)) is not None:
                assert names.setdefault(int(theirs[4]), int(track_id)) == track_id, f"frame {n}"
                np.testing.assert_allclose(box, theirs[:4], atol=0.01)
            else:
                assert track_id in names.values(), f"frame {n}"
                np.testing.assert_allclose(box, found.boxes[row], atol=0.01)
                told_sooner += 1
        told += len(tracks)
    assert told > 200
    assert (told_sooner > 0) == (kind not in ("strongsort", "botsort"))
    assert len(set(names.values())) == len(names) > 5


class PlainDeepSort:
    """The paper's algorithm, step by step, with BoxMOT's Kalman filter and SciPy's assignment."""

    def __init__(self, least_score: float, max_age: int) -> None:
        from boxmot.motion.kalman_filters.xyah import KalmanFilterXYAH

        self.kalman, self.least_score, self.max_age, self.last_id = KalmanFilterXYAH(), least_score, max_age, 0
        self.tracks: list[dict[str, Any]] = []

    def update(self, found: Detections) -> dict[int, tuple[int, NDArray[np.float64]]]:
        """Id and box of each detection row that belongs to a confirmed track."""
        rows = np.flatnonzero(found.scores >= self.least_score).tolist()
        boxes = {row: found.boxes[row].astype(float) for row in rows}
        for track in self.tracks:
            track["mean"], track["covariance"] = self.kalman.predict(track["mean"], track["covariance"])
            track["age"] += 1
            track["row"] = None
        free = list(rows)
        assert found.features is not None
        for age in range(1, self.max_age + 2):
            level = [track for track in self.tracks if track["hits"] >= 3 and track["age"] == age]
            cost = np.full((len(level), len(free)), 1e5)
            for i, track in enumerate(level):
                for j, row in enumerate(free):
                    off = self.kalman.gating_distance(track["mean"], track["covariance"], measure(boxes[row])[None])[0]
                    if off <= 9.4877:
                        cost[i, j] = 1 - max(float(look @ found.features[row]) for look in track["looks"][-100:])
            self.match(level, free, cost, 0.2)
        rest = [t for t in self.tracks if t["row"] is None and (t["hits"] < 3 or t["age"] == 1)]
        cost = np.array([[1 - overlap(xyxy(t["mean"]), boxes[row]) for row in free] for t in rest])
        self.match(rest, free, cost.reshape(len(rest), len(free)), 0.7)
        for track in self.tracks:
            if track["row"] is not None:
                measured = measure(boxes[track["row"]])
                track["mean"], track["covariance"] = self.kalman.update(track["mean"], track["covariance"], measured)
                track["hits"], track["age"] = track["hits"] + 1, 0
                track["looks"].append(found.features[track["row"]])
                if track["hits"] == 3:
                    self.last_id += 1
                    track["id"] = self.last_id
        self.tracks = [t for t in self.tracks if t["row"] is not None or (t["hits"] >= 3 and t["age"] <= self.max_age)]
        for row in free:
            mean, covariance = self.kalman.initiate(measure(boxes[row]))
            looks = [found.features[row]]
            self.tracks.append({"mean": mean, "covariance": covariance, "hits": 1, "age": 0, "row": row,
                                "looks": looks, "id": 0})  # fmt: skip
        return {t["row"]: (t["id"], xyxy(t["mean"])) for t in self.tracks if t["hits"] >= 3 and t["row"] is not None}

    def match(self, tracks: list[dict[str, Any]], free: list[int], cost: NDArray[np.float64], most: float) -> None:
        from scipy.optimize import linear_sum_assignment

        cost = np.where(cost > most, most + 1e-5, cost)
        pairs = [(i, free[j]) for i, j in zip(*linear_sum_assignment(cost), strict=True) if cost[i, j] <= most]
        for i, row in pairs:
            tracks[i]["row"] = row
            free.remove(row)


def measure(box: NDArray[np.float64]) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / (y2 - y1), y2 - y1])


def xyxy(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, aspect, height = mean[:4]
    half_width, half_height = aspect * height / 2, height / 2
    return np.array([x - half_width, y - half_height, x + half_width, y + half_height])


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(width, 0) * max(height, 0)
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_deepsort_is_the_papers(data: Path) -> None:
    plain, ours = PlainDeepSort(0.9, 8), tracker_of("deepsort", high_confidence=0.9, lost_after=0.95)
    names: dict[int, int] = {}
    told = 0
    for n, found in enumerate(recorded(data, 150)):
        tracks, expected = ours.update(found, at(n * STEP_NS)), plain.update(found)
        assert set(tracks.detection_rows.tolist()) == set(expected), f"frame {n}"
        for row, track_id, box in zip(tracks.detection_rows.tolist(), tracks.track_ids, tracks.boxes, strict=True):
            assert names.setdefault(expected[row][0], int(track_id)) == track_id, f"frame {n}"
            np.testing.assert_allclose(box, expected[row][1], atol=0.01)
        told += len(tracks)
    assert told > 400
    assert len(set(names.values())) == len(names) > 5


# -- what is true of every tracker


@every_kind
def test_moving_objects_keep_their_ids_from_one_on(kind: str) -> None:
    ids = follow(tracker_of(kind), [seen((10 + 8 * n, 50), (600 - 6 * n, 300)) for n in range(30)])
    assert all(sorted(both) == [1, 2] for both in ids[5:])


@every_kind
def test_a_tracker_does_as_it_would_alone(kind: str) -> None:
    """Whatever others in the process track between its frames."""
    alone, beside, other = tracker_of(kind), tracker_of(kind), tracker_of(kind)
    for n in range(25):
        other.update(seen(*[(20 + 90 * k + 3 * n, 200) for k in range(n % 7)]), at(n * STEP_NS))
        found = seen(*[(10 + 5 * n, 40 + 100 * k) for k in range(3) if (n + k) % 6])
        expected, tracks = alone.update(found, at(n * STEP_NS)), beside.update(found, at(n * STEP_NS))
        assert tracks.track_ids.tolist() == expected.track_ids.tolist()
        np.testing.assert_array_equal(tracks.boxes, expected.boxes)


@every_kind
def test_rows_scores_and_classes_are_the_detections_own(kind: str) -> None:
    tracker = tracker_of(kind)
    order = np.random.default_rng(2)
    for n in range(12):
        places = order.permutation(4)
        found = seen(*[(30 + 120 * k + 2 * n, 60) for k in places.tolist()], classes=places.tolist(), looks=places)
        found = Detections(
            found.boxes, (0.6 + places / 20).astype(np.float32), found.class_ids, features=found.features
        )
        tracks = tracker.update(found, at(n * STEP_NS))
    assert sorted(tracks.detection_rows.tolist()) == [0, 1, 2, 3]
    for row, score, class_id, box in zip(
        tracks.detection_rows, tracks.scores, tracks.class_ids, tracks.boxes, strict=True
    ):
        assert (score, class_id) == (found.scores[row], found.class_ids[row])
        np.testing.assert_allclose(box, found.boxes[row], atol=4)


@every_kind
@pytest.mark.parametrize(("away_ns", "expected"), [(7 * NS // 10, 1), (NS + 1, 2)], ids=["in time", "too late"])
def test_time_decides_when_a_track_is_over_not_the_number_of_frames(kind: str, away_ns: int, expected: int) -> None:
    """Empty frames come thrice as often as they should, and then none at all for a while."""
    tracker = tracker_of(kind, lost_after=1.0)
    follow(tracker, [seen((50, 50))] * 6)
    last = 5 * STEP_NS
    for n in range(1, 9):
        tracker.update(Detections.empty(), at(last + n * STEP_NS // 3))
    back = follow(tracker, [seen((50, 50))] * 5, start_ns=last + away_ns)
    assert back[-1] == [expected]


@every_kind
def test_who_was_untold_for_too_long_has_another_id(kind: str) -> None:
    """Its track has ended for all who listen, even if the tracker found it in time and only had to be sure of it."""
    tracker = tracker_of(kind, lost_after=1.0)
    told: dict[int, int] = {}
    for n in range(30):
        tracks = tracker.update(seen((50, 50)) if n < 6 or n > 14 else Detections.empty(), at(n * STEP_NS))
        for track_id in tracks.track_ids.tolist():
            assert n - told.get(track_id, n) <= 10
            told[track_id] = n
    assert 29 in told.values()


@every_kind
def test_who_was_hidden_is_told_at_once_when_seen_again(kind: str) -> None:
    """Trackers that would rather see it some times more first would let its track end meanwhile."""
    tracker = tracker_of(kind, lost_after=1.0)
    follow(tracker, [seen((50, 50), (300, 50))] * 6)
    follow(tracker, [seen((50, 50))] * 9, start_ns=6 * STEP_NS)
    assert follow(tracker, [seen((50, 50), (300, 50))] * 5, start_ns=15 * STEP_NS) == [[1, 2]] * 5


def test_boosttrack_tells_of_nothing_wide_where_that_is_left_out() -> None:
    tracker = tracker_of("boosttrack", boosttrack={"max_aspect_ratio": 1.6})
    tall, wide = ((np.array([[50, 50, 50 + w, 50 + h]], np.float32)) for w, h in ((60, 40), (72, 40)))
    one, none = np.full(1, 0.9, np.float32), np.zeros(1, np.int32)
    ids = [
        tracker.update(Detections(box, one[: len(box)], none[: len(box)]), at(n * STEP_NS)).track_ids.tolist()
        for n, box in enumerate([tall] * 6 + [wide[:0]] * 2 + [wide] * 6)
    ]
    assert ids[5] == [1]
    assert ids[9:] == [[]] * 5


@every_kind
@pytest.mark.parametrize("gap", [3, 5])
def test_a_moving_object_is_found_again_when_frames_between_were_dropped(kind: str, gap: int) -> None:
    """It has left its place by more than its width: only who knows how much time has passed knows where to look."""
    step = 60 / gap
    path = [without_looks([seen((10 + step * n, 50), (1500 - step * n, 300))])[0] for n in range(61)]
    tracker = tracker_of(kind)
    follow(tracker, path[:15])
    ids = [sorted(tracker.update(path[n], at(n * STEP_NS)).track_ids.tolist()) for n in range(14 + gap, 61, gap)]
    assert ids == [[1, 2]] * len(ids)


@every_kind
def test_an_object_hidden_while_frames_are_dropped_is_not_taken_for_faster_than_it_is(kind: str) -> None:
    """OC-SORT and its kin go over such a gap again; in it are more frame intervals than frames."""
    path = [without_looks([seen((10 + 18 * n, 50))])[0] for n in range(70)]
    tracker = tracker_of(kind, lost_after=3.0)
    follow(tracker, path[:15])
    looks = range(17, 70, 3)
    hidden = set(looks[4:7])
    ids = [
        tracker.update(Detections.empty() if n in hidden else path[n], at(n * STEP_NS)).track_ids.tolist()
        for n in looks
    ]
    assert ids[-5:] == [[1]] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_gone_is_forgotten(kind: str) -> None:
    tracker = tracker_of(kind, lost_after=0.5)
    assert isinstance(tracker, BoxmotTracker)
    for n in range(120):
        tracker.update(seen((10 + 170 * (n // 6), 50)), at(n * STEP_NS))
    assert len(tracker._tracks()) <= 3
    assert len(tracker._lives) <= 3


@every_kind
def test_tracks_coast_by_their_motion_and_go_on_as_if_they_had_not(kind: str) -> None:
    path = [seen((10 + 4 * n, 50), (400, 100 + 3 * n)) for n in range(30)]
    coasting, alone = tracker_of(kind), tracker_of(kind)
    for n in range(0, 28, 3):
        tracks, expected = coasting.update(path[n], at(n * STEP_NS)), alone.update(path[n], at(n * STEP_NS))
        assert tracks.track_ids.tolist() == expected.track_ids.tolist()
        np.testing.assert_array_equal(tracks.boxes, expected.boxes)
        for later in (n + 1, n + 2):
            moved = coasting.coast(at(later * STEP_NS))
            assert moved.track_ids.tolist() == tracks.track_ids.tolist()
            assert set(moved.detection_rows.tolist()) <= {-1}
            if n > 15:  # by now it knows how they move
                np.testing.assert_allclose(moved.boxes, path[later].boxes, atol=4)
    assert tracks.track_ids.tolist() == [1, 2]


@every_kind
def test_held_tracks_do_not_age_and_stay_where_they_were(kind: str) -> None:
    tracker = tracker_of(kind, lost_after=1.0)
    both = seen((50, 50), (300, 50))
    last = [tracker.update(both, at(n * STEP_NS)) for n in range(6)][-1]
    tracker.update(seen((50, 50)), at(6 * STEP_NS))  # the other one is lost
    for n in range(7, 107):  # ten times what a lost track lives
        held = tracker.hold(at(n * STEP_NS))
        assert held.track_ids.tolist() == [1]
    np.testing.assert_allclose(held.boxes, last.boxes[:1], atol=1)
    assert sorted(follow(tracker, [both] * 4, start_ns=107 * STEP_NS)[-1]) == [1, 2]


@every_kind
def test_before_anything_is_seen_there_is_nothing_to_tell(kind: str) -> None:
    tracker = tracker_of(kind)
    for tracks in (tracker.coast(at(0)), tracker.hold(at(0)), tracker.update(Detections.empty(), at(0))):
        assert len(tracks) == 0
    assert len(tracker.coast(at(1))) == 0


@every_kind
def test_what_was_seen_once_is_no_track(kind: str) -> None:
    """It comes after the first frames of all, which some trackers trust without waiting."""
    tracker = tracker_of(kind)
    follow(tracker, [seen((50, 50))] * 10)
    ids = follow(tracker, [seen((50, 50), (300, 50)), *[seen((50, 50))] * 5], start_ns=10 * STEP_NS)
    assert ids == [[1]] * 6


@every_kind
def test_a_box_without_an_area_harms_nothing(kind: str) -> None:
    tracker = tracker_of(kind)
    good = seen((50, 50), (300, 50))
    for n in range(8):
        boxes = np.vstack([np.array([[10, 10, 10, 30]], np.float32), good.boxes])
        ones = np.full(3, 0.9, np.float32)
        tracks = tracker.update(Detections(boxes, ones, np.zeros(3, np.int32), features=LOOKS[:3]), at(n * STEP_NS))
    found = dict(zip(tracks.detection_rows.tolist(), tracks.track_ids.tolist(), strict=True))
    assert {1, 2} <= set(found)


# -- one class at a time


@every_kind
def test_per_class_a_person_and_the_bicycle_under_it_do_not_change_places(kind: str) -> None:
    """They take turns in being seen: whoever tracks both as one gives the one's id to the other."""
    tracker = tracker_of(kind, per_class=True)
    classes: dict[int, set[int]] = {}
    for n in range(30):
        there = [0, 1] if n < 8 else [n % 2]
        found = seen(*[(50 + 4 * n, 50 + 5 * k) for k in there], classes=there, looks=[0] * len(there))
        tracks = tracker.update(found, at(n * STEP_NS))
        assert [tracks.class_ids[k] for k in range(len(tracks))] == [
            found.class_ids[row] for row in tracks.detection_rows
        ]
        for track_id, class_id in zip(tracks.track_ids.tolist(), tracks.class_ids.tolist(), strict=True):
            classes.setdefault(track_id, set()).add(class_id)
    assert sorted(classes) == [1, 2]
    assert all(len(mine) == 1 for mine in classes.values())


@pytest.mark.parametrize("kind", ["bytetrack", "ocsort", "deepsort"])
def test_per_class_a_late_class_has_to_be_confirmed_too(kind: str) -> None:
    tracker = tracker_of(kind, per_class=True)
    follow(tracker, [seen((50, 50))] * 10)
    ids = follow(tracker, [seen((50, 50), (300, 50), classes=[0, 7]), *[seen((50, 50))] * 3], start_ns=10 * STEP_NS)
    assert ids == [[1]] * 4


def test_per_class_coasts_holds_and_forgets() -> None:
    tracker = tracker_of("bytetrack", per_class=True, lost_after=0.5)
    both = seen((50, 50), (300, 50), classes=[0, 7])
    follow(tracker, [both] * 5)
    assert tracker.coast(at(5 * STEP_NS)).track_ids.tolist() == [1, 2]
    for n in range(5, 25):
        assert tracker.hold(at(n * STEP_NS)).track_ids.tolist() == [1, 2]
    assert tracker.update(both, at(25 * STEP_NS)).track_ids.tolist() == [1, 2]
    for n in range(26, 40):
        tracker.update(seen((50, 50)), at(n * STEP_NS))
    assert list(tracker._classes) == [0]  # type: ignore[attr-defined]
    assert sorted(follow(tracker, [both] * 3, start_ns=40 * STEP_NS)[-1]) == [1, 3]


# -- looks


@pytest.mark.parametrize("kind", ["deepsort", "strongsort"])
def test_two_who_turn_back_behind_a_pillar_are_told_apart_by_their_looks(kind: str) -> None:
    """Their motion would have them pass each other; where looks are not compared it does."""

    def tracked(with_looks: bool) -> list[int]:
        tracker = tracker_of(kind)
        path = []
        for n in range(30):
            away = abs(15 - n)
            hidden = away < 4
            found = seen((200 - 6 * away, 50), (212 + 6 * away, 52)) if not hidden else Detections.empty()
            path.append(found if with_looks or hidden else without_looks([found])[0])
        for n, found in enumerate(path):
            tracks = tracker.update(found, at(n * STEP_NS))
        return [int(i) for _, i in sorted(zip(tracks.detection_rows, tracks.track_ids, strict=True))]

    assert tracked(True) == [1, 2]
    assert tracked(False) != [1, 2]


def test_who_wants_looks_says_so() -> None:
    assert [kind for kind in TRACKERS if wants_features(TrackerConfig(kind=kind))] == [
        kind for kind in TRACKERS if kind in APPEARANCE
    ]
    assert [kind for kind in TRACKERS if needs_features(TrackerConfig(kind=kind))] == ["deepsort", "strongsort"]
    assert wants_features(TrackerConfig(kind="my_trackers:Own"))


@pytest.mark.parametrize("kind", APPEARANCE)
def test_a_frame_without_looks_among_others_is_tracked_by_motion(kind: str) -> None:
    tracker = tracker_of(kind)
    path = [seen((50 + 4 * n, 50), (300, 50 + 2 * n)) for n in range(12)]
    path[8] = without_looks(path[8:9])[0]
    assert [sorted(ids) for ids in follow(tracker, path)][-3:] == [[1, 2]] * 3


@pytest.mark.parametrize("kind", APPEARANCE)
def test_objects_whose_looks_nobody_knows_have_zeros(kind: str) -> None:
    tracker = tracker_of(kind)
    for n in range(12):
        found = seen((50 + 4 * n, 50), (300, 50 + 2 * n))
        assert found.features is not None
        found.features[n % 2] = 0
        tracks = tracker.update(found, at(n * STEP_NS))
        if n > 4:
            assert sorted(tracks.track_ids.tolist()) == [1, 2]
            assert np.isfinite(tracks.boxes).all()


@pytest.mark.parametrize("kind", APPEARANCE)
def test_looks_that_come_late_are_compared_from_then_on(kind: str) -> None:
    """As when the ReID model takes longer to load than the camera to connect."""
    tracker = tracker_of(kind)
    path = [seen((50 + 4 * n, 50), (300, 50 + 2 * n)) for n in range(16)]
    ids = follow(tracker, [*without_looks(path[:6]), *path[6:]])
    assert sorted(ids[-1]) == sorted(ids[-5])
    if isinstance(tracker, BoxmotTracker):
        assert tracker._tracks()[0] is not None and tracker._width == 8
        assert set(ids[-1]).isdisjoint(ids[5])


@pytest.mark.parametrize("kind", APPEARANCE)
def test_another_models_looks_are_not_compared_with_the_old_ones(kind: str) -> None:
    """The detector may be replaced while a camera is being watched."""
    tracker = tracker_of(kind)
    path = [seen((50 + 4 * n, 50), (300, 50 + 2 * n)) for n in range(20)]
    other = [
        Detections(one.boxes, one.scores, one.class_ids, features=np.eye(2, 5, dtype=np.float32)) for one in path[10:]
    ]
    ids = follow(tracker, [*path[:10], *other])
    assert len(ids[-1]) == 2
    assert sorted(ids[-1]) == sorted(ids[-5])


# -- moving cameras


def panned(offset: int) -> av.VideoFrame:
    """A view, `offset` pixels to the right, of a wall with something on it."""
    wall = np.random.default_rng(4).integers(0, 255, (48, 140), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    view = wall[:, 100 + offset : 740 + offset]
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(np.repeat(view[..., None], 3, axis=2)), "bgr24")


@pytest.mark.parametrize("kind", ["botsort", "strongsort", "deepocsort", "hybridsort", "boosttrack"])
def test_who_follows_a_moving_camera_keeps_ids_when_it_jerks(kind: str) -> None:
    def last(camera_motion: str) -> list[int]:
        tracker = tracker_of(kind, camera_motion=camera_motion)
        for n in range(9):
            offset = 0 if n < 8 else 48  # the camera is knocked, and everything is elsewhere in its picture
            found = without_looks([seen((200 - offset, 100), (420 - offset, 200))])[0]
            tracks = tracker.update(found, at(n * STEP_NS, panned(offset)))
        return tracks.track_ids.tolist()

    assert last("sparse_flow") == [1, 2]
    assert last("off") != [1, 2]


# -- BoxMOT in our house


def test_boxmots_trackers_load_no_pytorch(tmp_path: Path) -> None:
    """A worker would be slower to start by seconds, and bigger; whoever asks for PyTorch later gets it."""
    (tmp_path / "torch.py").write_text("answer = 42")
    program = """
import sys
from tracking.config import TrackerConfig
from tracking.trackers import TRACKERS
from vigil.warm_tracker import warm_tracker
for kind in TRACKERS:
    warm_tracker(TrackerConfig(kind=kind))
assert "torch" not in sys.modules, "loaded"
import boxmot.trackers.base
assert boxmot.trackers.base.torch.answer == 42
import torch
assert torch.answer == 42
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100, cwd=root,
                   env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"})  # fmt: skip


def test_a_tracker_that_fails_ends_its_tracks_and_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = tracker_of("ocsort")
    follow(tracker, [seen((50, 50))] * 5)

    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("not positive definite")

    assert isinstance(tracker, BoxmotTracker)
    monkeypatch.setattr(tracker._tracker, "_track_detections", fail)
    assert follow(tracker, [seen((50, 50))], start_ns=5 * STEP_NS) == [[]]
    assert follow(tracker, [seen((50, 50))] * 5, start_ns=6 * STEP_NS)[-1] == [2]


@pytest.mark.parametrize("kind", ["deepocsort", "botsort"])
def test_a_long_lived_track_takes_no_more_and_more_memory(kind: str) -> None:
    tracker = tracker_of(kind)
    assert isinstance(tracker, BoxmotTracker)

    def remembered_after(frames: range) -> int:
        for n in frames:
            tracker.update(seen((50, 50)), at(n * STEP_NS))
        (track,) = tracker._tracks()
        return sum(len(part) for part in vars(track).values() if hasattr(part, "__len__"))

    early = remembered_after(range(150))
    assert remembered_after(range(150, 400)) <= early


def test_every_kind_of_boxmots_is_in_the_table() -> None:
    assert set(KINDS) == set(DIRECT) == {kind for kind, path in TRACKERS.items() if path.endswith("BoxmotTracker")}


def test_no_tracks_are_tracks() -> None:
    assert len(tracker_of("ocsort", per_class=True).update(Detections.empty(), at(0))) == len(Tracks.empty()) == 0
