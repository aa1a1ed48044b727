"""What has to go, and what may stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from publish.media.allowance import Allowance
from publish.media.retention import Stored, expired


def stored(*ages: tuple[float, int]) -> list[Stored]:
    return [Stored(f"k{number}", size, 1000.0 - age) for number, (age, size) in enumerate(ages)]


def removed(files: list[Stored], max_age: float, max_bytes: int) -> list[tuple[str, str]]:
    return [(one.key, reason) for one, reason in expired(files, 1000.0, max_age, max_bytes)]


def test_nothing_goes_at_the_bounds_themselves() -> None:
    assert removed(stored((60, 5), (0, 5)), 60, 10) == []


def test_the_old_go_and_then_the_oldest_of_too_much() -> None:
    files = stored((10, 4), (61, 4), (50, 4), (20, 4))
    assert removed(files, 60, 8) == [("k1", "age"), ("k2", "size")]


@given(st.lists(st.tuples(st.floats(0, 200), st.integers(0, 50)), max_size=30), st.floats(0, 200), st.integers(0, 300))
def test_what_stays_is_within_bounds_and_the_newest(ages: list[tuple[float, int]], age: float, room: int) -> None:
    files = stored(*ages)
    gone = {key for key, _ in removed(files, age, room)}
    stays = [one for one in files if one.key not in gone]
    assert sum(one.bytes for one in stays) <= room
    assert all(1000.0 - one.at_s <= age for one in stays)
    newest_gone = max((one.at_s for one in files if one.key in gone), default=0.0)
    assert all(one.at_s >= newest_gone for one in stays)


def test_an_allowance_is_used_up_and_comes_back_evenly() -> None:
    allowance = Allowance(6)
    assert [allowance.take(100.0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert not allowance.take(109.9)
    assert allowance.take(110.0)
    assert sum(allowance.take(110.0 + second / 10) for second in range(6000)) in (59, 60)  # rounding
