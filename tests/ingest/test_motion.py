"""The motion gate wakes for what moves, and for as little else as a cheap look can manage."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.device_frame import DeviceFrame
from ingest.motion import Motion, MotionGate
from ingest.privacy import PrivacyMasks
from tests.ingest.scenery import Box, Scenery

LEAST = 6.0
NONE = np.zeros((0, 4), np.float32)


def boxes(*given: Box) -> Any:
    return np.array(given, np.float32).reshape(-1, 4)


def ready(scenery: Scenery, things: tuple[Box, ...] = (), **how: Any) -> MotionGate:
    """A gate that has kept this scene's first frame."""
    gate = MotionGate(LEAST)
    first = gate.look(scenery.frame(0, things, **how), NONE)
    assert first == Motion(True, True, True, first.boxes)
    gate.keep()
    return gate


@pytest.mark.parametrize("noise", [0.0, 3.0, 5.0])
def test_noise_is_no_motion(noise: float) -> None:
    scenery = Scenery(noise=noise)
    gate = ready(scenery)
    assert not any(gate.look(scenery.frame(n), NONE).moved for n in range(1, 60))


def test_noise_of_the_night_hardly_wakes_it_when_it_is_known() -> None:
    scenery = Scenery(noise=9)
    gate = ready(scenery)
    woken = [gate.look(scenery.frame(n), NONE).moved for n in range(1, 150)]
    assert sum(woken[:25]) > 10
    assert sum(woken[75:]) <= 8


@pytest.mark.parametrize("speed", [0.03, 0.1])
def test_a_mast_that_sways_is_no_motion(speed: float) -> None:
    """The whole picture drifts by some pixels; `speed` is in pixels a frame."""
    wide = cv2.GaussianBlur(Scenery((700, 400), noise=0).ground, (5, 5), 0)
    gate, scenery = MotionGate(LEAST), Scenery()
    for n in range(60):
        shift = np.array([[1, 0, -20 - n * speed], [0, 1, -20 + n * speed / 2]])
        seen = cv2.warpAffine(wide, shift, (640, 360)) + scenery.rng.normal(0, 2, (360, 640))
        moved = gate.look(scenery.frame(n, luma=seen), NONE).moved
        if n == 0:
            gate.keep()
        assert moved == (n == 0), n
    seen[100:160, 300:330] = 20
    assert gate.look(scenery.frame(61, luma=seen), NONE).moved


def test_light_that_fades_is_no_motion() -> None:
    scenery = Scenery()
    gate = ready(scenery)
    assert not any(gate.look(scenery.frame(n, gain=1 - n / 250, offset=n / 10), NONE).moved for n in range(1, 100))


@pytest.mark.parametrize(("gain", "offset"), [(1.35, 0.0), (0.6, 0.0), (1.0, 30.0), (0.8, 25.0)])
def test_light_that_jumps_is_no_motion(gain: float, offset: float) -> None:
    scenery = Scenery()
    gate = ready(scenery)
    assert not gate.look(scenery.frame(1, gain=gain, offset=offset), NONE).moved


def test_something_that_moves_is_seen_in_other_light_too() -> None:
    scenery = Scenery()
    gate = ready(scenery, ((100, 100, 130, 160),))
    assert gate.look(scenery.frame(1, ((112, 100, 142, 160),), gain=1.3, offset=5), NONE).moved


@pytest.mark.parametrize("side", [12, 20, 60])
def test_something_small_that_appears_is_seen(side: int) -> None:
    scenery = Scenery()
    gate = ready(scenery)
    assert gate.look(scenery.frame(1, ((300, 200, 300 + side, 200 + side),)), NONE).moved


@pytest.mark.parametrize("speed", [0.1, 0.5, 2.0])
def test_something_slow_is_seen_before_it_has_gone_far(speed: float) -> None:
    """No two frames in a row differ by more than noise does; `speed` is in pixels a frame."""
    scenery = Scenery()
    gate = ready(scenery, ((100, 100, 140, 180),))
    moved = next(
        n for n in range(1, 200)
        if gate.look(scenery.frame(n, ((100 + n * speed, 100, 140 + n * speed, 180),)), NONE).moved
    )  # fmt: skip
    assert moved * speed <= 6


def test_what_stands_where_it_was_last_seen_has_not_moved() -> None:
    scenery = Scenery()
    gate = ready(scenery)
    for n in range(1, 20):
        gate.look(scenery.frame(n, ((10 * n, 100, 10 * n + 30, 160),)), NONE)
    gate.keep()
    assert not any(gate.look(scenery.frame(n, ((190, 100, 220, 160),)), NONE).moved for n in range(20, 60))


def test_rain_hardly_wakes_it() -> None:
    scenery = Scenery()
    gate = ready(scenery)
    woken = 0
    for n in range(1, 100):
        luma = scenery.luma()
        for _ in range(15):
            x, y = scenery.rng.integers(0, 630), scenery.rng.integers(0, 330)
            luma[y : y + 14, x : x + 1] += 60
        woken += gate.look(scenery.frame(n, luma=luma), NONE).moved
    assert woken <= 10


def swaying(scenery: Scenery, n: int, things: tuple[Box, ...] = ()) -> Any:
    """Leaves in the upper left quarter: patches of it brighten and darken, each in its own time."""
    luma = scenery.luma(things)
    phase = np.kron(np.arange(9 * 16).reshape(9, 16) % 7, np.ones((20, 20)))
    luma[:180, :320] += 14 * np.sin(0.4 * n + phase)
    return scenery.frame(n, luma=luma)


def test_leaves_that_sway_wake_it_no_more_after_a_while_but_who_comes_in_front_of_them_does() -> None:
    scenery = Scenery()
    gate = MotionGate(LEAST)
    gate.look(swaying(scenery, 0), NONE)
    gate.keep()
    woken = [gate.look(swaying(scenery, n), NONE).moved for n in range(1, 400)]
    assert any(woken[:25])
    assert not any(woken[250:])
    assert gate.look(swaying(scenery, 400, ((100, 60, 140, 140),)), NONE).moved


def test_what_moves_behind_a_privacy_mask_is_not_seen() -> None:
    masks = PrivacyMasks([[(0, 0), (0.5, 0), (0.5, 1), (0, 1)]])
    scenery = Scenery()
    gate = ready(scenery, masks=masks)
    hidden, seen = (100.0, 100.0, 200.0, 250.0), (400.0, 100.0, 500.0, 250.0)
    assert not gate.look(scenery.frame(1, (hidden,), masks=masks), NONE).moved
    assert gate.look(scenery.frame(2, (seen,), masks=masks), NONE).moved


def test_motion_within_known_boxes_is_theirs() -> None:
    scenery = Scenery()
    gate = ready(scenery, ((100, 100, 130, 160),))
    known = boxes((90, 90, 150, 170), (400, 200, 450, 300))
    theirs = gate.look(scenery.frame(1, ((110, 100, 140, 160),)), known)
    assert (theirs.moved, theirs.unknown, theirs.boxes.tolist()) == (True, False, [True, False])
    other = gate.look(scenery.frame(2, ((110, 100, 140, 160), (300, 50, 330, 100))), known)
    assert (other.unknown, other.fresh) == (True, True)


def test_what_was_asked_about_is_unknown_still_but_not_fresh() -> None:
    scenery = Scenery()
    gate = ready(scenery)
    assert gate.look(scenery.frame(1, ((300, 200, 330, 260),)), NONE).fresh
    gate.keep()
    again = gate.look(scenery.frame(2, ((306, 200, 336, 260),)), NONE)
    assert (again.unknown, again.fresh) == (True, False)
    assert gate.look(scenery.frame(3, ((306, 200, 336, 260), (500, 50, 530, 110))), NONE).fresh


@pytest.mark.parametrize("pixels", ["yuvj420p", "nv12", "yuv422p", "yuv420p10le", "gray", "yuyv422", "bgr24", "rgba"])
def test_every_kind_of_picture_is_looked_at(pixels: str) -> None:
    scenery = Scenery()
    gate = ready(scenery, pixels=pixels)
    assert not gate.look(scenery.frame(1, pixels=pixels), NONE).moved
    assert gate.look(scenery.frame(2, ((300, 200, 330, 260),), pixels=pixels), NONE).moved


@pytest.mark.parametrize(("dtype", "unit"), [(torch.uint8, 1), (torch.uint16, 256)])
def test_pictures_in_gpu_memory_are_looked_at_there(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, unit: int
) -> None:
    """With the CPU's memory in the GPU's place."""
    scenery = Scenery()

    def planes(self: DeviceFrame) -> Any:
        plane = self._native.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        return torch.from_numpy(rows.astype(np.int32) * unit).to(dtype), None

    monkeypatch.setattr(DeviceFrame, "_planes", planes)

    gate = MotionGate(LEAST)

    def moved(n: int, *things: Box) -> bool:
        frame = scenery.frame(n, things)
        there = DeviceFrame("gate", 1, n, frame.pts_ns, 0, 0, frame.clock, None, frame._native)
        return gate.look(there, NONE).moved

    assert moved(0)
    gate.keep()
    assert not moved(1)
    assert moved(2, (300, 200, 330, 260))


@pytest.mark.parametrize("size", [(64, 48), (162, 90), (1920, 1080), (1080, 1920), (4096, 16)])
def test_pictures_of_any_size_and_of_another_one_than_before(size: tuple[int, int]) -> None:
    gate = ready(Scenery())
    scenery = Scenery(size, noise=0)
    assert gate.look(scenery.frame(1), NONE).moved  # of that size nothing is known yet
    gate.keep()
    assert not gate.look(scenery.frame(2), NONE).moved
    upside_down = scenery.ground[::-1, ::-1]
    assert gate.look(scenery.frame(3, luma=upside_down), NONE).moved or size[1] == 16


@settings(max_examples=20)
@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 4), max_size=5))
def test_known_boxes_may_be_anywhere(known: list[Box]) -> None:
    scenery = Scenery((64, 48))
    gate = ready(scenery)
    assert len(gate.look(scenery.frame(1), boxes(*known)).boxes) == len(known)
