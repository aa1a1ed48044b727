"""The same person in another camera is known by looks and time; others are not taken for them."""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.features import Features
from ingest.clock import Clock
from ingest.frame import Frame
from tracking.events import Identity
from tracking.identity import identities
from tracking.identity.identities import Identities, Likeness
from tracking.reid.model import load_reid, looks

PLAIN = Likeness(same=0.8, different=0.4, deviation=0.1)


def people(likeness: Likeness = PLAIN, memory_s: float = 300.0) -> Identities:
    numbers = count(1)
    return Identities(lambda: f"m-{next(numbers)}", likeness, memory_s)


def like(cosine: float, axis: int = 1) -> Features:
    """Features with this cosine to `like(1)`."""
    features = np.zeros(8, np.float32)
    features[0] = cosine
    features[axis] += math.sqrt(1 - cosine**2)
    return features


def who(known: Identities, camera: str, track: str, at_s: float, features: Features, *beside: str) -> Identity:
    return known.see(camera, track, at_s, features, 5, beside)[0]


def test_a_track_is_someone_and_remains_so() -> None:
    known = people()
    first, is_new = known.see("a", "1", 0, like(1))
    assert (first.global_id, is_new) == ("m-1", True)
    assert known.see("a", "1", 9, like(0.0)) == (first, False)


def test_the_same_looks_in_another_camera_are_the_same_person() -> None:
    known = people()
    first = who(known, "a", "1", 0, like(1))
    again, is_new = known.see("b", "1", 5, like(0.8))
    assert (again.global_id, is_new) == (first.global_id, False)
    assert 0.9 < again.confidence < 1


def test_other_looks_are_someone_else() -> None:
    known = people()
    who(known, "a", "1", 0, like(1))
    other = who(known, "b", "1", 5, like(0.4))
    assert other.global_id == "m-2"
    assert other.confidence > 0.9


def test_the_confidence_says_when_two_may_be_meant() -> None:
    known = people()
    two = [who(known, "a", str(axis), 0, like(0.7, axis), *"12") for axis in (1, 2)]
    assert [one.global_id for one in two] == ["m-1", "m-2"]
    twins = who(known, "b", "1", 1, like(1, 3))
    assert twins.global_id in ("m-1", "m-2")
    assert 0.3 < twins.confidence < 0.6


def test_who_was_seen_beside_someone_is_someone_else() -> None:
    known = people()
    first = who(known, "a", "1", 0, like(1))
    assert who(known, "a", "2", 1, like(1), "1").global_id != first.global_id


def test_who_was_seen_beside_someone_is_someone_else_even_when_that_one_has_gone() -> None:
    known = people()
    first = who(known, "a", "1", 0, like(1))
    known.ended("a", "1")
    assert who(known, "a", "2", 1, like(1), "1").global_id != first.global_id


def test_a_track_that_was_lost_and_found_under_another_number_is_the_same_person() -> None:
    """Its old track lives on for a while, but nobody has seen the two beside each other."""
    known = people()
    first = who(known, "a", "1", 0, like(1))
    assert who(known, "a", "2", 1, like(1)).global_id == first.global_id
    known.ended("a", "1")
    known.forget(1000)
    assert len(known) == 1, "the other track is still there"


def test_one_person_may_be_in_two_cameras_at_once() -> None:
    """Views overlap; tracks of other cameras with the same number are others."""
    known = people()
    assert {who(known, camera, "1", 0, like(1), "2").global_id for camera in "abc"} == {"m-1"}


def test_the_more_are_known_the_more_alike_one_must_look() -> None:
    alike = like(0.64, 7)
    assert (few := people()).see("a", "1", 0, like(1)) and not few.see("b", "1", 1, alike)[1]
    many = people()
    for axis in range(1, 7):
        who(many, "a", str(axis), 0, like(0.0, axis), *"123456")
    who(many, "a", "9", 0, like(1))
    assert many.see("b", "1", 1, alike)[1]


def test_looks_are_the_mean_of_all_looks_by_how_many_they_were() -> None:
    known = people()
    known.see("a", "1", 0, like(1), 9)
    known.see("a", "1", 1, like(0, 2), 1)
    assert not known.see("b", "1", 2, like(1))[1]
    assert known.see("b", "2", 2, like(0, 2), 1, ["1"])[1]


def test_the_longer_ago_the_less_sure_and_at_last_forgotten() -> None:
    sure = []
    for gap_s in (1.0, 60.0, 300.0):
        known = people()
        who(known, "a", "1", 0, like(1))
        known.ended("a", "1")
        again = who(known, "b", "1", gap_s, like(0.8))
        sure.append(again.confidence)
    assert sure == sorted(sure, reverse=True) and sure[0] > sure[-1]
    known = people()
    who(known, "a", "1", 0, like(1))
    known.ended("a", "1")
    assert who(known, "b", "1", 300.1, like(1)).global_id == "m-2"
    assert len(known) == 1


def test_who_is_still_there_is_not_forgotten() -> None:
    known = people(memory_s=10)
    first = who(known, "a", "1", 0, like(1))
    who(known, "b", "1", 100, like(0, 2))
    assert len(known) == 2
    assert who(known, "a", "1", 200, like(1)) == first


def test_ids_are_never_used_again() -> None:
    known = people(memory_s=1)
    ids = set()
    for number in range(50):
        ids.add(who(known, "a", str(number), number * 10.0, like(1)).global_id)
        known.ended("a", str(number))
    assert len(ids) == 50


def test_a_day_of_passers_by_takes_no_more_memory_than_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MOST_ENDED", 50)
    known = people(memory_s=60)
    rng = np.random.default_rng(0)
    for number in range(500):
        features = rng.standard_normal(64).astype(np.float32)
        who(known, "a", str(number), number * 10.0, features / np.linalg.norm(features))
        known.ended("a", str(number))
    assert len(known) <= 8
    assert not known._tracks and len(known._ended) == 50


def test_of_too_many_who_has_been_gone_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "MOST_PERSONS", 3)
    known = people()
    for axis in range(1, 7):
        who(known, "a", str(axis), axis, like(0, axis))
        if axis != 1:
            known.ended("a", str(axis))
    known.forget(7)
    assert len(known) == 3
    assert who(known, "a", "1", 8, like(0, 1)).global_id == "m-1", "who is there stays"
    assert who(known, "b", "9", 8, like(0, 6)).global_id == "m-6"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 6), st.booleans(), st.integers(1, 7)), max_size=60))
def test_no_two_tracks_that_were_seen_beside_each_other_are_one_person(
    seen: list[tuple[str, int, bool, int]],
) -> None:
    known = people()
    alive: dict[str, dict[str, str]] = {"a": {}, "b": {}}
    lives = count()
    names: dict[tuple[str, int], str] = {}
    for at_s, (camera, place, ends, axis) in enumerate(seen):
        track = names.setdefault((camera, place), f"{place}/{next(lives)}")
        if ends:
            known.ended(camera, track)
            alive[camera].pop(track, None)
            del names[camera, place]
            continue
        identity = known.see(camera, track, at_s, like(0.9, axis), 5, list(alive[camera]))[0]
        assert 0 <= identity.confidence <= 1
        assert alive[camera].setdefault(track, identity.global_id) == identity.global_id
        assert len(set(alive[camera].values())) == len(alive[camera])
    assert {name for person in known._persons.values() for name in person.tracks} == {
        (camera, track) for camera, tracks in alive.items() for track in tracks
    }


def test_real_persons_who_come_back_are_known(data: Path) -> None:
    """PETS09-S2L1, every fifth picture: the first half is one camera's, what comes a second later another's."""
    osnet = load_reid(data / "weights/osnet_x0_25_msmt17.onnx", "cpu")
    truth = np.loadtxt(data / "mot/MOT15/PETS09-S2L1/gt/gt.txt", delimiter=",")
    known = people(Likeness())
    told: dict[str, dict[int, Identity]] = {"a": {}, "b": {}}
    seen: dict[tuple[str, int], list[Features]] = {}
    with av.open(str(data / "videos/PETS09-S2L1.mp4")) as container:
        for seq, image in enumerate(container.decode(video=0)):
            if seq % 5 or 150 <= seq < 157:
                continue
            camera = "a" if seq < 150 else "b"
            if seq == 160:
                for person in told["a"]:
                    known.ended("a", f"1/{person}")
            rows = truth[truth[:, 0] == seq + 1]
            boxes = np.hstack([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]]).astype(np.float32)
            frame = Frame("", 0, seq, 0, 0, 0, Clock.ARRIVAL, None, image)
            persons = rows[:, 1].astype(int).tolist()
            for person, features in zip(persons, looks(osnet, [(frame, boxes)])[0], strict=True):
                all_looks = seen.setdefault((camera, person), [])
                all_looks.append(features)
                if len(all_looks) != 5:
                    continue
                mean = np.sum(all_looks, axis=0)
                mean /= np.linalg.norm(mean)
                beside = [f"1/{other}" for other in persons if other != person]
                told[camera][person] = known.see(camera, f"1/{person}", seq / 7, mean, 5, beside)[0]
    # The truth counts two who leave and come back (1 and 14) as others (19 and 15): they are not to be told apart.
    assert len({one.global_id for one in told["a"].values()}) >= len(told["a"].keys() - {1, 14})
    back = told["a"].keys() & told["b"].keys()
    assert len(back) >= 4
    right = [person for person in back if told["b"][person].global_id == told["a"][person].global_id]
    assert len(right) == len(back), (told["a"], told["b"])
