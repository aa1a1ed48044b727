"""The sampler keeps the rate that was asked for, whatever the camera's is."""

from __future__ import annotations

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


@given(
    st.lists(st.integers(-15_000_000, 15_000_000), min_size=250, max_size=250),
    st.sampled_from([5.0, 7.0, 10.0, 12.5]),
)
def test_jittered_timestamps_keep_the_average_rate(jitter: list[int], wanted: float) -> None:
    times = [max(0, 40_000_000 * n + jitter[n]) for n in range(len(jitter))]
    assert len(taken(wanted, times)) == pytest.approx(wanted * 10, abs=2)


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
