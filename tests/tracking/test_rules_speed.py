"""Speeds are those at which objects go, in metres where the ground is known, whatever the frame rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.tracking.scripted import ACROSS, HEIGHT, THROUGH, WHOLE, WIDTH, Script, walk
from tracking.events import EventType, Motion
from tracking.rules.config import GroundConfig
from tracking.rules.ground import homography
from tracking.speed import FITTED, SPEED, VX, VY, forget, heading, observe_place

# A camera over a road: 4 m wide, from near to 20 m further; lines that are parallel there meet in the picture.
ROAD = GroundConfig(
    picture=((0.2, 0.9), (0.8, 0.9), (0.6, 0.4), (0.4, 0.4)), metres=((10, 5), (14, 5), (14, 25), (10, 25))
)


def seen_from_above(*xy: float) -> tuple[float, float]:
    """Where a place on the road is in the picture."""
    x, y, w = np.linalg.inv(homography(ROAD)) @ [xy[0] - 10, xy[1] - 5, 1.0]
    return x / w, y / w


def motion_after(script: Script, path: object, seconds: float) -> Motion | None:
    script.until({1: path}, seconds)  # type: ignore[dict-item]
    return script.followed.motion(1)


def test_the_four_points_are_where_they_are() -> None:
    for (x, y), (there_x, there_y) in zip(ROAD.picture, ROAD.metres, strict=True):
        u, v, w = homography(ROAD) @ [x, y, 1.0]
        assert (u / w + 10, v / w + 5) == pytest.approx((there_x, there_y))
        assert w > 0
    assert (homography(ROAD) @ [0.5, 0.05, 1.0])[2] < 0, "the sky"


@pytest.mark.parametrize("fps", [4, 10, 25])
@pytest.mark.parametrize(("to", "speed", "degrees"), [((12, 20), 2.0, 0.0), ((11, 7), 0.4, 90 - 45)])
def test_metres_a_second_are_those_on_the_ground(
    fps: float, to: tuple[float, float], speed: float, degrees: float
) -> None:
    start = (12.0, 20 - 5 * 2.0) if degrees == 0 else (11 - 1.4142, 7 - 1.4142)

    def walks(t: float) -> tuple[float, float]:
        return seen_from_above(*(a + (b - a) * t / 5 for a, b in zip(start, to, strict=True)))

    found = motion_after(Script(ground=ROAD, fps=fps), walks, 5)
    assert found is not None
    assert found.on_ground
    assert found.speed == pytest.approx(speed, rel=0.01)
    assert found.heading is not None
    assert abs((found.heading - degrees + 180) % 360 - 180) < 1


def test_without_ground_speeds_are_in_picture_heights() -> None:
    found = motion_after(Script(), walk((0, 0.2, 0.5), (4, 0.6, 0.5)), 4)
    assert found == Motion(pytest.approx(0.1 * WIDTH / HEIGHT, rel=1e-3), pytest.approx(90.0, abs=0.1), False)


def test_who_stands_has_no_heading_and_who_was_hardly_seen_no_speed() -> None:
    stands = motion_after(Script(), walk((0, 0.5, 0.5), (4, 0.5, 0.5)), 4)
    assert stands == Motion(pytest.approx(0.0, abs=1e-9), None, False)
    assert motion_after(Script(), walk((0, 0.2, 0.5), (4, 0.6, 0.5)), 0.4) is None


def test_a_box_that_is_cut_off_says_nothing_of_the_speed() -> None:
    """Who comes in from below grows out of the border: the feet of what is seen stay there."""
    assert motion_after(Script(), lambda t: (0.5, 1.0), 3) is None


def test_above_the_horizon_there_is_no_speed() -> None:
    assert motion_after(Script(ground=ROAD), walk((0, 0.2, 0.12), (4, 0.8, 0.12)), 3) is None


@given(
    st.lists(st.floats(0.01, 0.5), min_size=60, max_size=80), st.floats(-30, 30), st.floats(-30, 30),
    st.floats(-1e4, 1e4),
)  # fmt: skip
def test_a_steady_speed_is_exact_however_irregular_the_frames(
    steps: list[float], vx: float, vy: float, start: float
) -> None:
    fit = np.zeros(FITTED)
    forget(fit)
    t = 0.0
    for step in steps:
        t += step
        observe_place(fit, start + vx * t, vy * t, t)
    assert fit[[VX, VY]] == pytest.approx([vx, vy], abs=1e-3)
    assert fit[SPEED] == pytest.approx(math.hypot(vx, vy), abs=1e-3)


def test_four_fifths_of_a_sudden_change_are_known_a_second_and_a_half_later() -> None:
    fit = np.zeros(FITTED)
    forget(fit)
    x = 0.0
    for n in range(200):
        x += (1.0 if n < 100 else 5.0) / 25
        observe_place(fit, x, 0.0, n / 25)
        if n == 137:
            assert fit[SPEED] == pytest.approx(1 + 0.8 * 4, abs=0.1)
    assert fit[SPEED] == pytest.approx(5.0, rel=0.01)


def test_trembling_boxes_give_hardly_a_speed() -> None:
    fit, rng = np.zeros(FITTED), np.random.default_rng(1)
    forget(fit)
    speeds = []
    for n in range(500):
        observe_place(fit, *rng.normal(0, 0.002, 2), n / 25)  # two thousandths of the picture's height
        speeds.append(fit[SPEED])
    assert np.median(speeds[25:]) < 0.005


@pytest.mark.parametrize(("vx", "vy", "degrees"), [(0, 1, 0), (1, 0, 90), (0, -1, 180), (-1, 0, 270)])
def test_headings_go_clockwise_from_up(vx: float, vy: float, degrees: float) -> None:
    assert heading(vx, vy) == degrees


def test_a_crossing_says_how_fast_it_was() -> None:
    events = Script(lines={"line": ACROSS}).play({1: THROUGH}, 4)
    (crossed,) = (event for event in events if event.type is EventType.LINE_CROSSED)
    assert crossed.motion == Motion(pytest.approx(0.225, rel=0.01), pytest.approx(180.0, abs=0.1), False)


@pytest.mark.parametrize("fps", [5, 25])
def test_who_is_too_fast_is_told_of_once_in_a_stay(fps: float) -> None:
    zone = WHOLE.model_copy(update={"speed_over": 0.3})
    slow, fast = walk((0, 0.2, 0.5), (4, 0.4, 0.5)), walk((0, 0.1, 0.3), (2, 0.2, 0.3), (4, 0.9, 0.3), (6, 0.95, 0.3))
    events = Script(zones={"road": zone}, fps=fps).play({1: slow, 2: fast}, 6)
    told = [event for event in events if event.type is EventType.ZONE_SPEEDING]
    assert [(event.track_id, event.place) for event in told] == [(2, "road")]
    assert told[0].motion is not None
    assert told[0].motion.speed > 0.3
    assert 2 < told[0].pts_ns / 1e9 < 3.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"picture": [(0.2, 0.9), (0.5, 0.9), (0.8, 0.9), (0.4, 0.4)]}, "three of the four points of `picture`"),
        ({"metres": [(0, 0), (2, 2), (4, 4), (0, 9)]}, "three of the four points of `metres`"),
        ({"metres": [(0, 0), (0, 0), (4, 4), (0, 9)]}, "three of the four points of `metres`"),
        ({"metres": [(10, 5), (14, 25), (14, 5), (10, 25)]}, "in the same order"),
        ({"metres": [(10, 5), (14, 5), (14, 25)]}, "Field required"),
    ],
)
def test_ground_points_that_say_nothing_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GroundConfig.model_validate({"picture": ROAD.picture, "metres": ROAD.metres, **change})


def test_a_ground_seen_as_in_a_mirror_is_taken() -> None:
    """The picture's y goes down; whose metres do so too is as right."""
    assert GroundConfig(picture=ROAD.picture, metres=tuple((x, -y) for x, y in ROAD.metres))
