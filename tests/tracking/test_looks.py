"""What a track looks like is told when it has been looked at often enough, and then seldom."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.clock import NS
from tracking.identity.looks import LOOK_EVERY_NS, SELDOM_NS, Look, Looks
from tracking.tracks import Tracks

PERSON = {0}


def tracks(*ids: int, rows: list[int] | None = None, classes: list[int] | None = None) -> Tracks:
    size = len(ids)
    return Tracks(
        np.array(ids, np.int64), np.zeros((size, 4), np.float32), np.ones(size, np.float32),
        np.array(classes or [0] * size, np.int32), np.array(rows or range(size), np.int32),
    )  # fmt: skip


def features(*axes: int) -> NDArray[np.float32]:
    return np.eye(8, dtype=np.float32)[list(axes)]


def told(looks: Looks, seconds: float, step_ns: int, answered: bool = True) -> list[tuple[float, Look]]:
    """Of one track, in as many pictures."""
    found = []
    for now_ns in range(0, round(seconds * NS), step_ns):
        for look in looks.see(now_ns, tracks(1), features(0), PERSON, "net"):
            found.append((now_ns / NS, look))
            if answered:
                looks.told(1, now_ns)
    return found


@pytest.mark.parametrize("step_ns", [LOOK_EVERY_NS // 8, LOOK_EVERY_NS])
def test_a_track_is_told_of_after_enough_looks_that_are_apart_in_time(step_ns: int) -> None:
    (first, *_) = told(Looks(5), 2, step_ns)
    assert first[0] == pytest.approx(4 * LOOK_EVERY_NS / NS)
    assert (first[1].track_id, first[1].looks, first[1].beside) == (1, 5, ())


def test_after_that_it_is_told_ever_more_seldom() -> None:
    times = [at_s for at_s, _ in told(Looks(5), 200, LOOK_EVERY_NS)]
    gaps = np.diff(times)
    assert gaps[:4].tolist() == pytest.approx([2, 4, 8, 16])
    assert gaps[4:].tolist() == pytest.approx([SELDOM_NS / NS] * len(gaps[4:]))


def test_what_could_not_be_told_is_told_with_the_next_look() -> None:
    found = told(Looks(3), 1.0, LOOK_EVERY_NS, answered=False)
    assert [look.looks for _, look in found] == [3, 4, 5]


def test_it_tells_the_mean_at_length_one_and_who_was_seen_beside_it() -> None:
    looks = Looks(2)
    assert looks.see(0, tracks(1, 2), features(0, 3), PERSON, "net") == []
    (look,) = looks.see(NS, tracks(1, 3, rows=[1, 0]), features(3, 1), PERSON, "net")
    assert (look.track_id, look.beside) == (1, (2, 3))
    np.testing.assert_allclose(look.features, (features(0) + features(1))[0] / np.sqrt(2), rtol=1e-6)


def test_who_is_not_detected_not_wanted_or_has_no_features_is_not_looked_at() -> None:
    looks = Looks(1)
    none = np.zeros((1, 8), np.float32)
    assert looks.see(0, tracks(1, rows=[-1]), features(0), PERSON, "net") == []
    assert looks.see(0, tracks(1, classes=[2]), features(0), PERSON, "net") == []
    assert looks.see(0, tracks(1), none, PERSON, "net") == []
    assert len(looks) == 0
    assert len(looks.see(0, tracks(1), features(0), PERSON, "net")) == 1


def test_looks_of_another_model_do_not_add_up() -> None:
    looks = Looks(2)
    looks.see(0, tracks(1), features(0), PERSON, "net")
    assert looks.see(NS, tracks(1), np.ones((1, 4), np.float32), PERSON, "other") == []
    (look,) = looks.see(2 * NS, tracks(1), np.ones((1, 4), np.float32), PERSON, "other")
    assert (look.looks, look.features.shape) == (2, (4,))


def test_tracks_that_have_ended_are_let_go_of() -> None:
    looks = Looks(1)
    looks.see(0, tracks(1, 2), features(0, 1), PERSON, "net")
    looks.told(1, 0)
    assert [looks.ended(track_id) for track_id in (1, 2, 3)] == [True, False, False]
    assert len(looks) == 0
