"""The sampler keeps the rate that was asked for, whatever the camera's is."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clock import NS
from ingest.sampling import Sampler


def taken(fps: float | None, times_ns: list[int]) -> list[int]:
    sampler = Sampler(fps)
    return [pts for pts in times_ns if sampler.takes(pts)]


def regular(camera_fps: float, seconds: int, unit_ns: int = 1) -> list[int]:
    """Timestamps as a container with this unit would write them."""
    return [round(n * NS / camera_fps / unit_ns) * unit_ns for n in range(round(camera_fps * seconds))]


@pytest.mark.parametrize(
    ("camera", "wanted"), [(25, 10), (30, 7), (30, 15), (29.97, 10), (25, 24), (60, 1), (50, 12.5), (25, 0.5)]
)
@pytest.mark.parametrize("unit_ns", [1, 11_111, 1_000_000], ids=["ns", "rtp", "ms"])
def test_the_average_rate_is_the_one_asked_for(camera: float, wanted: float, unit_ns: int) -> None:
    assert len(taken(wanted, regular(camera, 40, unit_ns))) == pytest.approx(wanted * 40, abs=1)


def test_25_to_10_takes_every_second_or_third_frame() -> None:
    frames = [pts // 40_000_000 for pts in taken(10, regular(25, 10))]
    assert {later - earlier for earlier, later in pairwise(frames)} == {2, 3}


def jittered(camera_fps: float, jitter: list[float]) -> list[int]:
    """Frames that are off by up to a part of their interval, as encoders without a steady clock time them."""
    return [max(0, round((n + part) * NS / camera_fps)) for n, part in enumerate(jitter)]


rates = st.one_of(
    st.sampled_from(
        [(25.0, 10.0), (25.0, 25.0), (30.0, 10.0), (30.0, 30.0), (29.97, 15.0), (25.0, 24.0), (24.97, 25.0)]
    ),
    st.tuples(st.floats(5, 60), st.floats(0.5, 60)),
)


@given(rates, st.integers(0, 2**32), st.floats(0, 0.4))
def test_any_rate_from_any_camera_however_it_jitters_is_kept_within_a_hundredth(
    rates: tuple[float, float], seed: int, part: float
) -> None:
    camera, wanted = rates
    chance = random.Random(seed)
    seconds = max(20, round(100 / min(camera, wanted)))
    times = jittered(camera, [chance.uniform(-part, part) for _ in range(round(camera * seconds))])
    expected = min(camera, wanted) * seconds
    assert len(taken(wanted, times)) == pytest.approx(expected, rel=0.01, abs=2)


@given(st.integers(0, 2**32), st.sampled_from([(25, 25), (30, 10), (30, 15), (25, 5), (60, 20)]))
def test_a_whole_fraction_takes_evenly_spaced_frames_however_they_jitter(seed: int, rates: tuple[int, int]) -> None:
    camera, wanted = rates
    chance = random.Random(seed)
    times = jittered(camera, [0.0, *(chance.uniform(-0.2, 0.2) for _ in range(camera * 20))])
    numbers = [times.index(pts) for pts in taken(wanted, times)]
    assert {later - earlier for earlier, later in pairwise(numbers)} == {camera // wanted}


@given(st.lists(st.integers(0, 10 * NS), max_size=200), st.floats(0.5, 60))
def test_no_second_gets_more_than_was_asked_for(steps: list[int], wanted: float) -> None:
    """Whatever the timestamps do; a late frame may be made up for by one."""
    times = [sum(steps[:n]) for n in range(len(steps) + 1)]
    got = taken(wanted, times)
    for first in range(len(got)):
        within = [pts for pts in got[first:] if pts - got[first] < NS]
        assert len(within) <= wanted + 3


@given(st.integers(0, 100), st.floats(0, 10))
def test_after_a_jump_the_rate_is_kept(before: int, jump_s: float) -> None:
    times = regular(25, 4)[:before] + [before * NS // 25 + round(jump_s * NS) + pts for pts in regular(25, 40)]
    after = [pts for pts in taken(10, times) if pts >= before * NS // 25 + round(jump_s * NS)]
    assert len(after) == pytest.approx(400, abs=2)


@pytest.mark.parametrize("wanted", [25, 30, 100])
def test_a_camera_that_sends_fewer_loses_none(wanted: float) -> None:
    times = regular(25, 4)
    assert taken(wanted, times) == times


def test_rounded_timestamps_at_the_wanted_rate_lose_none() -> None:
    times = regular(30, 10, unit_ns=1_000_000)
    assert taken(30, times) == times


def test_without_a_rate_every_frame_is_taken() -> None:
    times = regular(25, 2)
    assert taken(None, times) == times


def test_the_first_frame_is_taken() -> None:
    assert Sampler(1).takes(0)


def test_a_pause_is_not_made_up_for() -> None:
    times = regular(25, 4) + [60 * NS + pts for pts in regular(25, 4)]
    assert len(taken(10, times)) == pytest.approx(80, abs=1)
