"""A session stalls when nothing new comes, whatever else comes; slow cameras are given their time."""

from __future__ import annotations

import pytest

from ingest.clock import NS
from ingest.errors import Reason, SourceError
from ingest.pulse import Pulse

TIMEOUT_S = 4.0
BEGAN = 1000 * NS


def at(seconds: float) -> int:
    return BEGAN + round(seconds * NS)


def live(interval_s: float, count: int) -> tuple[Pulse, float]:
    """A session with so many frames, and when the last of them came."""
    pulse = Pulse(TIMEOUT_S, BEGAN)
    for number in range(count):
        pulse.frame(number, at(number * interval_s))
    return pulse, (count - 1) * interval_s


def test_half_of_the_time_out_without_a_frame_is_a_stall() -> None:
    pulse, last = live(0.1, 50)
    assert pulse.stall(at(last + TIMEOUT_S / 2)) is None
    assert pulse.stall(at(last + TIMEOUT_S / 2 + 0.01)) == "no new picture for 2.0 s"


def test_a_new_frame_ends_the_stall() -> None:
    pulse, last = live(0.1, 50)
    assert pulse.stall(at(last + 3))
    pulse.frame(50, at(last + 3.5))
    assert pulse.stall(at(last + 4)) is None


@pytest.mark.parametrize("interval_s", [1.0, 3.0, 10.0])
def test_a_slow_camera_is_not_stalled_between_its_frames(interval_s: float) -> None:
    pulse, last = live(interval_s, 50)
    assert pulse.stall(at(last + 2 * interval_s)) is None
    assert pulse.stall(at(last + 3.1 * interval_s))


def test_frames_whose_timestamps_stand_still_are_not_new() -> None:
    pulse, last = live(0.1, 50)
    for step in range(1, 40):
        pulse.frame(49, at(last + step * 0.1))
    assert pulse.stall(at(last + 2.1))
    pulse.frame(49, at(last + TIMEOUT_S))
    with pytest.raises(SourceError, match="timestamps stand still at 49 for 4.1 s") as caught:
        pulse.frame(49, at(last + TIMEOUT_S + 0.1))
    assert caught.value.reason is Reason.STALLED


def test_timestamps_that_jump_back_are_new_and_so_are_frames_without_any() -> None:
    pulse, last = live(0.1, 50)
    pulse.frame(3, at(last + 3))
    assert pulse.stall(at(last + 3.1)) is None
    for step in range(100):
        pulse.frame(None, at(last + 4 + step))
    assert pulse.stall(at(last + 104)) is None
