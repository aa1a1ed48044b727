"""Media time never goes backwards, whatever a camera says."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clock import MAX_AHEAD_NS, MAX_BEHIND_NS, NS, MediaClock

MS = Fraction(1, 1000)
RTP = Fraction(1, 90000)

any_pts = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(-5000, 5000))
any_base = st.one_of(st.none(), st.sampled_from([MS, RTP, Fraction(1, 25), Fraction(1001, 30000), Fraction(1, NS)]))


def read_all(clock: MediaClock, pts: list[int | None], base: Fraction | None = MS) -> list[int]:
    return [clock.read(one, base) for one in pts]


@given(st.lists(st.tuples(any_pts, any_base), max_size=60), st.sampled_from([None, 5.0, 25.0, 29.97, 240.0]))
def test_the_clock_always_goes_forward(frames: list[tuple[int | None, Fraction | None]], rate: float | None) -> None:
    clock = MediaClock(rate)
    times = [clock.read(pts, base) for pts, base in frames]
    assert all(later > earlier for earlier, later in pairwise(times))


@given(st.lists(st.tuples(any_pts, any_base), min_size=1, max_size=60))
def test_no_step_is_longer_than_the_limit(frames: list[tuple[int | None, Fraction | None]]) -> None:
    clock = MediaClock(25.0)
    times = [clock.read(pts, base) for pts, base in frames]
    assert times[0] == 0
    assert all(later - earlier <= MAX_AHEAD_NS for earlier, later in pairwise(times))


@given(st.integers(-(2**40), 2**40), st.lists(st.integers(1, 9000), max_size=40))
def test_good_timestamps_are_told_as_they_are_from_zero(start: int, steps: list[int]) -> None:
    pts = [start]
    for step in steps:
        pts.append(pts[-1] + step)
    assert read_all(MediaClock(25.0), list(pts)) == [(one - start) * 1_000_000 for one in pts]


def test_rtp_units_become_nanoseconds() -> None:
    clock = MediaClock(25.0)
    assert [clock.read(pts, RTP) for pts in (900_000, 903_600, 990_000)] == [0, 40_000_000, NS]


def test_missing_timestamps_step_by_the_frame_interval() -> None:
    assert read_all(MediaClock(50.0), [None, None, None]) == [0, 20_000_000, 40_000_000]


def test_without_a_rate_the_interval_is_that_of_25_fps() -> None:
    assert read_all(MediaClock(None), [None, None]) == [0, 40_000_000]


def test_a_gap_in_the_timestamps_does_not_shift_what_follows() -> None:
    assert read_all(MediaClock(25.0), [0, 40, None, 120, 160]) == [n * 1_000_000 for n in (0, 40, 80, 120, 160)]


WRAPS = [
    pytest.param(33, RTP, id="MPEG-TS"), pytest.param(32, RTP, id="RTP"), pytest.param(32, MS, id="FLV"),
]  # fmt: skip


@pytest.mark.parametrize(("bits", "base"), WRAPS)
@given(st.lists(st.integers(90, 90_000), min_size=1, max_size=60), st.integers(0, 60))
def test_a_counter_that_wraps_around_changes_nothing(bits: int, base: Fraction, steps: list[int], before: int) -> None:
    steps = [max(1, round(step / 90_000 / base)) for step in steps]
    plain = [sum(steps[:n]) for n in range(len(steps) + 1)]
    start = 2**bits - sum(steps[:before])
    clock, wrapping = MediaClock(None), MediaClock(None)
    expected = [clock.read(pts, base) for pts in plain]
    got = [wrapping.read((start + pts) % 2**bits, base) for pts in plain]
    assert all(abs(ours - theirs) <= 1 for ours, theirs in zip(got, expected, strict=True)), "to the ns of rounding"
    assert wrapping.breaks == 0


def test_a_counter_may_wrap_around_many_times() -> None:
    step = 9 * 90_000
    clock = MediaClock(None)
    times = [clock.read(n * step % 2**32, RTP) for n in range(3 * 2**32 // step)]
    assert times[-1] == pytest.approx((len(times) - 1) * 9 * NS, abs=10)
    assert clock.breaks == 0


def test_a_frame_from_before_the_wrap_that_comes_after_it_waits_its_turn() -> None:
    clock = MediaClock(25.0)
    times = [clock.read(pts % 2**33, RTP) for pts in (-7200, 0, -3600, 3600, 7200)]
    assert times == [0, 80_000_000, 81_000_000, 120_000_000, 160_000_000]
    assert clock.breaks == 0


def test_a_jump_ahead_goes_on_from_the_frame_before_it() -> None:
    clock = MediaClock(25.0)
    assert read_all(clock, [0, 40, 3_600_000, 3_600_040]) == [0, 40_000_000, 80_000_000, 120_000_000]
    assert clock.breaks == 1


def test_a_jump_of_exactly_the_limit_is_believed_and_one_beyond_is_not() -> None:
    limit_ms = MAX_AHEAD_NS // 1_000_000
    assert read_all(MediaClock(25.0), [0, limit_ms]) == [0, MAX_AHEAD_NS]
    assert read_all(MediaClock(25.0), [0, limit_ms + 1]) == [0, 40_000_000]


def test_a_step_back_of_the_limit_is_a_reset() -> None:
    behind_ms = MAX_BEHIND_NS // 1_000_000
    assert read_all(MediaClock(25.0), [0, 5000, 5000 - behind_ms, 5040 - behind_ms]) == [
        0, 5 * NS, 5 * NS + 40_000_000, 5 * NS + 80_000_000,
    ]  # fmt: skip


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_small_reordering_does_not_drift(swaps: list[bool]) -> None:
    order = list(range(2 * len(swaps) + 1))
    for index, swap in enumerate(swaps):
        if swap:
            order[2 * index + 1 : 2 * index + 3] = reversed(order[2 * index + 1 : 2 * index + 3])
    order.append(len(order))
    times = read_all(MediaClock(25.0), [40 * n for n in order])
    assert times[-1] == 40_000_000 * (len(order) - 1)
    assert all(abs(time - 40_000_000 * n) <= 41_000_000 for time, n in zip(times, order, strict=True))
