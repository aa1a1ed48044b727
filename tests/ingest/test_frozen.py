"""A picture that stays the same to the last bit is frozen; one that is merely still is left in peace after a while."""

from __future__ import annotations

import av
import numpy as np
import pytest

from ingest.clock import NS, Clock
from ingest.frame import Frame
from ingest.frozen import LONGEST_TIMEOUT_S, FrozenPicture

SIZE = (96, 64)
TIMEOUT_S = 60.0


def picture(seed: int, line: int | None = None) -> av.VideoFrame:
    """Noise; with `line`, eight lines from there on are bright, as a caption's are."""
    gray = np.random.default_rng(seed).integers(0, 100, SIZE[::-1], np.uint8)
    if line is not None:
        gray[line : line + 8, 20:30] = 200
    return av.VideoFrame.from_ndarray(gray, format="gray").reformat(format="yuv420p")


def frame(image: av.VideoFrame, now_s: float) -> Frame:
    return Frame("gate", 1, 0, 0, round(now_s * NS), 0, Clock.ARRIVAL, None, image)


def frozen_after(watch: FrozenPicture, image: av.VideoFrame, began_s: float, limit_s: float) -> float | None:
    """When, after a session's begin, the picture counts as frozen; None when not within the limit."""
    watch.begin(round(began_s * NS))
    for tenth in range(round(limit_s * 10)):
        if watch.look(frame(image, began_s + tenth / 10)) is not None:
            return tenth / 10
    return None


def test_the_same_picture_for_the_time_out_is_frozen() -> None:
    assert frozen_after(FrozenPicture(TIMEOUT_S), picture(1), 100, 70) == pytest.approx(TIMEOUT_S, abs=0.6)


def test_pictures_that_differ_in_a_caption_are_not() -> None:
    watch = FrozenPicture(TIMEOUT_S)
    watch.begin(0)
    for second in range(1, 200):
        assert watch.look(frame(picture(1, line=second % 50), second)) is None


def test_a_still_scene_that_an_encoder_renews_with_each_key_frame_is_not() -> None:
    watch = FrozenPicture(TIMEOUT_S)
    watch.begin(0)
    for second in range(1, 300):
        assert watch.look(frame(picture(second // 20), second)) is None


def test_the_padding_beside_the_picture_does_not_count() -> None:
    """Its content is whatever was there before."""
    odd = av.VideoFrame(90, 64, "yuv420p")
    watch = FrozenPicture(1.0)
    watch.begin(0)
    rng = np.random.default_rng(1)
    found = []
    for second in range(1, 5):
        plane = odd.planes[0]
        memory = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        assert plane.line_size > 90
        memory[:, :90] = 7
        memory[:, 90:] = rng.integers(0, 255, (plane.height, plane.line_size - 90))
        found.append(watch.look(frame(odd, second)))
    assert any(found)


def test_a_picture_that_a_new_connection_shows_again_is_given_twice_as_long_each_time() -> None:
    watch, began, still = FrozenPicture(TIMEOUT_S), 1000.0, picture(1)
    waits = []
    for _ in range(9):
        waited = frozen_after(watch, still, began, LONGEST_TIMEOUT_S + 10)
        assert waited is not None
        waits.append(round(waited))
        began += waited + 1
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_another_picture_starts_over_from_the_first_time_out() -> None:
    watch = FrozenPicture(TIMEOUT_S)
    assert frozen_after(watch, picture(1), 1000, 70)
    assert frozen_after(watch, picture(2), 2000, 70) == pytest.approx(TIMEOUT_S, abs=0.6)


def test_without_a_time_out_no_picture_is_frozen() -> None:
    assert frozen_after(FrozenPicture(None), picture(1), 100, 4000) is None
