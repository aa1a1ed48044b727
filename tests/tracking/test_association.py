"""Assignments cost as little as they can."""

from __future__ import annotations

import numpy as np
import pytest

from tracking.association import assign, iou

LIMIT = 0.6


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (9, 3), (20, 20), (0, 4), (4, 0)])
def test_no_assignment_costs_less(seed: int, shape: tuple[int, int]) -> None:
    from scipy.optimize import linear_sum_assignment  # takes a second, in every test process

    cost = np.random.default_rng(seed).random(shape).round(seed % 4 + 1)  # the fewer digits, the more ties
    columns = assign(cost, LIMIT)
    used = columns[columns >= 0]
    assert len(columns) == shape[0]
    assert len(set(used.tolist())) == len(used)
    gain = np.minimum(cost - LIMIT, 0)
    ours = sum(cost[row, column] - LIMIT for row, column in enumerate(columns) if column >= 0)
    assert ours == pytest.approx(gain[linear_sum_assignment(gain)].sum())


def test_what_costs_the_limit_stays_apart() -> None:
    assert assign(np.array([[LIMIT]]), LIMIT).tolist() == [-1]
    assert assign(np.array([[LIMIT - 1e-9]]), LIMIT).tolist() == [0]


def test_a_pair_gives_way_where_that_saves_more() -> None:
    assert assign(np.array([[0.1, 0.2], [0.15, 0.59]]), LIMIT).tolist() == [1, 0]


def test_overlap_is_intersection_over_union() -> None:
    a, b = np.array([0.0, 0.0, 30.0, 10.0]), np.array([10.0, 0.0, 40.0, 10.0])
    assert iou(a, b) == pytest.approx(0.5)
    assert iou(a, b + 100) == 0
    assert iou(np.zeros(4), np.zeros(4)) == 0
