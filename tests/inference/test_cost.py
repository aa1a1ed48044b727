"""A batch is as large as pays, and nothing waits for longer than that serves everybody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.cost import CostCurve
from inference.forecast import Forecast

# A GPU's: a fixed cost, then little for each frame until it is full. A CPU's: no gain at all.
GPU = CostCurve(((1, 0.004), (2, 0.0045), (4, 0.0055), (8, 0.008), (16, 0.0158)))
CPU = CostCurve(((1, 0.010), (2, 0.020), (4, 0.040)))

curves = st.tuples(st.floats(1e-4, 0.1), st.lists(st.floats(0, 1), min_size=1, max_size=5)).map(
    lambda drawn: CostCurve(tuple(
        (2**n, drawn[0] * (1 + sum(drawn[1][:n]) * 2 ** max(0, n - 1))) for n in range(len(drawn[1]) + 1)
    ))
)  # fmt: skip


def test_the_best_batch_is_where_frames_stop_becoming_cheaper() -> None:
    assert GPU.best_batch == 8
    assert CPU.best_batch == 1
    assert CostCurve(((1, 0.01),)).best_batch == 1


@pytest.mark.parametrize(("batch", "seconds"), [(1, 0.004), (3, 0.005), (8, 0.008), (12, 0.0119), (32, 0.0314)])
def test_costs_between_and_beyond_the_measured_sizes(batch: int, seconds: float) -> None:
    assert GPU.seconds(batch) == pytest.approx(seconds)


def test_a_frame_that_is_about_to_come_is_waited_for_where_batches_are_cheap() -> None:
    assert GPU.waiting_pays(1, 0.001)
    assert not GPU.waiting_pays(1, 0.003)
    assert not GPU.waiting_pays(8, 0.001)


def test_a_cpu_that_gains_nothing_by_batching_hardly_ever_waits() -> None:
    assert not CPU.waiting_pays(1, 0.0001)
    assert not CPU.waiting_pays(3, 0.001)


@given(curves, st.integers(1, 16), st.floats(0, 1))
def test_nothing_waits_for_as_long_as_its_batch_takes(curve: CostCurve, waiting: int, next_in_s: float) -> None:
    if next_in_s >= curve.seconds(waiting):
        assert not curve.waiting_pays(waiting, next_in_s)


@pytest.mark.parametrize("points", [(), ((2, 0.1),), ((1, 0.1), (1, 0.2)), ((1, 0.0),), ((1, 0.1), (4, 0.2), (2, 0.3))])
def test_a_curve_that_cannot_be_is_refused(points: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ValueError, match="points must"):
        CostCurve(points)


def test_the_next_frame_is_due_one_interval_after_the_last() -> None:
    forecast = Forecast()
    assert forecast.next_in(0.0) is None
    for n in range(10):
        forecast.came("a", n * 0.04)
        forecast.came("b", 0.01 + n * 0.04)
    assert forecast.next_in(0.375) == pytest.approx(0.025)
    assert forecast.next_in(0.401) == pytest.approx(0.009)
    assert forecast.next_in(5.0) is None
    forecast.forget({"a"})
    assert forecast.next_in(0.375) == pytest.approx(0.035)
