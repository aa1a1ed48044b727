"""What was in a box is found again where it has gone, and told from what is not it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.frame import Frame
from ingest.patches import Patches, _find, _take
from ingest.privacy import PrivacyMasks
from tests.ingest.scenery import SIZE, Box, Scenery

NOWHERE = np.zeros((1, 2), np.float32)
START: Box = (200, 100, 260, 220)


def boxes(*given: Box) -> Any:
    return np.array(given, np.float32)


def scene(right: float = 0, down: float = 0, *, gain: float = 1.0, masks: PrivacyMasks | None = None) -> Frame:
    """Something that has moved so many pixels from START, in front of a ground of its own."""
    scenery = Scenery(noise=2.0)
    look = np.random.default_rng(5).uniform(20, 220, (12, 6))
    picture = scenery.ground.copy()
    left, top = round(START[0] + right), round(START[1] + down)
    shape = np.kron(look, np.ones((10, 10)))
    ys, xs = np.arange(top, top + 120), np.arange(left, left + 60)
    inside_y, inside_x = (ys >= 0) & (ys < SIZE[1]), (xs >= 0) & (xs < SIZE[0])
    picture[np.ix_(ys[inside_y], xs[inside_x])] = shape[np.ix_(inside_y, inside_x)]
    noisy = picture * gain + scenery.rng.normal(0, scenery.noise, picture.shape)
    return scenery.frame(0, luma=noisy, masks=masks)


@pytest.mark.parametrize("moved", [(0, 0), (3, 0), (-5, 2), (14, -9), (-20, 15)])
def test_what_has_moved_is_found_to_a_pixel(moved: tuple[int, int]) -> None:
    found, likeness = Patches(scene(), boxes(START)).find(scene(*moved), NOWHERE)
    np.testing.assert_allclose(found[0], moved, atol=1.0)
    assert likeness[0] > 0.9


def test_it_may_be_far_away_where_it_should_be() -> None:
    found, likeness = Patches(scene(), boxes(START)).find(scene(180, 40), np.array([[173, 45]], np.float32))
    np.testing.assert_allclose(found[0], (180, 40), atol=1.0)
    assert likeness[0] > 0.9


def test_light_makes_no_difference() -> None:
    found, likeness = Patches(scene(), boxes(START)).find(scene(6, 3, gain=0.7), NOWHERE)
    np.testing.assert_allclose(found[0], (6, 3), atol=1.0)
    assert likeness[0] > 0.9


def test_where_something_else_is_seen_it_is_not_like_it() -> None:
    away = Patches(scene(), boxes(START)).find(scene(300, 0), NOWHERE)
    assert away[1][0] < 0.75


def test_what_is_half_out_of_the_picture_is_still_found() -> None:
    moved = (-225, 0)  # 35 of its 60 pixels are left
    found, likeness = Patches(scene(), boxes(START)).find(scene(*moved), np.array([[-222, 0]], np.float32))
    np.testing.assert_allclose(found[0], moved, atol=1.5)
    assert likeness[0] > 0.9


def test_what_is_renewed_is_found_as_it_looked_then() -> None:
    patches = Patches(scene(300, 0), boxes(START))  # the ground, where the thing is not
    patches.renew(scene(), boxes(START), np.array([True]))
    found, likeness = patches.find(scene(4, 4), NOWHERE)
    np.testing.assert_allclose(found[0], (4, 4), atol=1.0)
    assert likeness[0] > 0.9


@pytest.mark.parametrize("polygon", [
    [(0.33, 0.3), (0.36, 0.3), (0.36, 0.5), (0.33, 0.5)], [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)],
])  # fmt: skip
def test_what_is_behind_a_privacy_mask_is_not_found(polygon: list[tuple[float, float]]) -> None:
    masks = PrivacyMasks([polygon])
    seen, hidden = scene(), scene(5, 0, masks=masks)
    for first, second in ((seen, hidden), (scene(masks=masks), scene(5, 0)), (scene(masks=masks), hidden)):
        found, likeness = Patches(first, boxes(START)).find(second, NOWHERE)
        assert likeness[0] == 0
        np.testing.assert_array_equal(found, NOWHERE)


def test_frames_with_masks_take_the_same_compiled_functions() -> None:
    """Else they are compiled anew, for seconds, while other cameras wait."""
    masked = scene(masks=PrivacyMasks([[(0.0, 0.0), (0.1, 0.0), (0.1, 0.1)]]))
    for frame in (scene(), masked):
        Patches(frame, boxes(START)).find(frame, NOWHERE)
    assert [len(compiled.signatures) for compiled in (_take, _find)] == [1, 1]  # type: ignore[attr-defined]


ANY = st.floats(-2000, 2000, width=32) | st.just(float("nan")) | st.just(float("inf"))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ANY, ANY, ANY, ANY), max_size=3), ANY, ANY)
def test_no_box_and_no_movement_leads_outside_of_the_picture(given_: list[Box], right: float, down: float) -> None:
    """It would be read there."""
    some = np.array(given_, np.float32).reshape(-1, 4)
    found, likeness = Patches(scene(), some).find(scene(), np.full((len(some), 2), (right, down), np.float32))
    assert found.shape == (len(some), 2)
    assert ((likeness >= -1) & (likeness <= 1.001)).all()
