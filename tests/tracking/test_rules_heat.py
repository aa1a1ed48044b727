"""The heat map holds the time that objects spent, where they spent it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tracking.scripted import LOST_AFTER_S, Script, walk
from tracking.rules.heat import COLUMNS, LARGEST, HeatMap
from tracking.rules.lasting import Lasting

FOREVER = 1e12


def heat_of(half_life_s: float = FOREVER, seconds: float = 10.0, **settings: object) -> np.ndarray:
    lasting = Lasting({}, {}, half_life_s)
    paths = {1: walk((0, 0.1, 0.5), (10, 0.9, 0.5)), 2: walk((2, 0.8, 0.9), (8, 0.8, 0.9))}
    Script(lasting=lasting, **settings).play(paths, seconds)  # type: ignore[arg-type]
    return lasting.heat.now().seconds


@pytest.mark.parametrize(
    "settings",
    [
        {"fps": 5}, {"fps": 25}, {"kept": lambda t: round(t * 25) % 7 != 3},
        {"detected": lambda t: round(t * 25) % 10 == 0}, {"detected": lambda t: round(t * 25) % 10 == 0, "held": True},
    ],
)  # fmt: skip
def test_all_heat_is_the_time_that_objects_were_there(settings: dict[str, object]) -> None:
    grid = heat_of(**settings)
    assert grid.shape == (36, COLUMNS)
    assert grid.sum() == pytest.approx(10 + 6, abs=0.9)
    assert grid[round(0.9 * 36 - 0.5), int(0.8 * COLUMNS)] == pytest.approx(6, abs=0.5)
    assert grid[18, int(0.2 * COLUMNS) : int(0.8 * COLUMNS)].sum() == pytest.approx(0.75 * 10, abs=0.7)


def test_a_gap_in_the_pictures_is_not_all_spent_at_one_place() -> None:
    assert heat_of(kept=lambda t: not 3 < t < 7).sum() == pytest.approx(2 * (6 + LOST_AFTER_S) - 4, abs=1.1)


def test_half_of_it_is_forgotten_in_a_half_life() -> None:
    heat = HeatMap(10.0)
    there = np.array([[0.5, 0.5]])
    heat.add(there, np.array([8.0]), 1.0, 0)
    for at_s, left in ((10, 4.0), (20, 2.0), (10_000, 0.0)):
        heat.add(np.zeros((0, 2)), np.zeros(0), 1.0, at_s * 10**9)
        assert heat.now().seconds.sum() == pytest.approx(left)
    assert heat.now().over_s == 10_000


def test_it_goes_on_for_ever_without_growing() -> None:
    heat = HeatMap(1.0)
    there = np.array([[0.5, 0.5]])
    for at_s in range(200):
        heat.add(there, np.array([1.0]), 1.0, at_s * 10**9)
        assert heat._grid.max() <= 2 * LARGEST
    assert heat.now().seconds.sum() == pytest.approx(2.0), "1 + 1/2 + 1/4 + …"


@pytest.mark.parametrize(("aspect", "rows"), [(16 / 9, 36), (9 / 16, 114), (0.1, 128), (100.0, 1)])
def test_the_grid_has_the_pictures_shape_and_a_bound(aspect: float, rows: int) -> None:
    heat = HeatMap(1.0)
    heat.add(np.array([[aspect, 1.0], [0.0, 0.0]]), np.ones(2), aspect, 0)
    grid = heat.now().seconds
    assert grid.shape == (rows, COLUMNS)
    assert grid[0, 0] >= 1
    assert grid[-1, -1] == 1
