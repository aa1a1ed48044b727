"""Events told twice are the same when they are told of one object at about one time."""

from __future__ import annotations

from tracking.attention.compare import Happened, unmatched

BOX = (100.0, 100.0, 140.0, 200.0)


def told(at_s: float, kind: str = "zone.entered", place: str | None = "gate", x: float = 0.0) -> Happened:
    return Happened(kind, place, None, (BOX[0] + x, BOX[1], BOX[2] + x, BOX[3]), at_s)


def test_half_a_second_sooner_or_later_is_the_same() -> None:
    assert unmatched([told(1.0), told(5.0)], [told(5.5), told(0.5)]) == ([], [])
    assert unmatched([told(1.0)], [told(1.6)]) == ([0], [0])


def test_another_kind_place_or_object_is_another_event() -> None:
    others = [told(1.0, kind="zone.left"), told(1.0, place="yard"), told(1.0, x=150)]
    assert unmatched([told(1.0)], others) == ([0], [0, 1, 2])


def test_each_is_matched_once_and_the_nearest_in_time_first() -> None:
    assert unmatched([told(1.0), told(1.4)], [told(1.3)]) == ([0], [])
