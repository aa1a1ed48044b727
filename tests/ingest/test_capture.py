"""Capture times: the camera's own where it tells and is right, else by arrival without the network's jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.capture import (
    CLOCK_SET_NS,
    MAX_DELAY_NS,
    MAX_EARLY_NS,
    UNKNOWN_DELAY_NS,
    Capture,
    CaptureClock,
)
from ingest.clock import NS, Clock, MediaClock
from ingest.rtcp import CameraTime

MS = NS // 1000
EPOCH = 1_700_000_000 * NS
BOOT = 1000 * NS  # the monotonic clock at the session's start
RTP = Fraction(1, 90000)


@dataclass
class Camera:
    """A session of a camera whose frame `n` was taken at EPOCH + n / 25 s, and the host that receives it.

    `behind_ns` is how far the camera's own clock is behind; None: it tells no time. `host_ns` is how far the host's
    clock is ahead of the truth.
    """

    behind_ns: int | None = None
    spread_ns: int = 0
    host_ns: int = 0

    def __post_init__(self) -> None:
        self.media = MediaClock(25.0)
        self.capture = CaptureClock(self.media)

    def frame(self, n: int, delay_ns: int, pts: int | None = None) -> tuple[Capture, int]:
        """What is told of frame `n` that arrives `delay_ns` after it was taken, and when it arrived."""
        media_ns = self.media.read(3600 * n if pts is None else pts, RTP)
        taken = n * 40 * MS
        arrived = taken + delay_ns
        now = EPOCH + arrived + self.host_ns
        camera = None if self.behind_ns is None else CameraTime(EPOCH + taken - self.behind_ns, self.spread_ns)
        return self.capture.read(media_ns, BOOT + arrived, now, camera), now


def truth(n: int) -> int:
    return EPOCH + n * 40 * MS


@pytest.mark.parametrize("delay_ns", [0, 300 * MS, 3 * NS])
def test_a_camera_that_tells_the_time_is_believed_however_long_its_frames_take(delay_ns: int) -> None:
    camera = Camera(behind_ns=0, spread_ns=2 * MS)
    told = [camera.frame(n, delay_ns)[0] for n in range(100)]
    assert [(one.at_ns, one.clock) for one in told] == [(truth(n), Clock.RTCP) for n in range(100)]
    assert {one.uncertainty_ns for one in told} == {3 * MS}


def test_a_network_that_becomes_slower_moves_no_capture_time_of_such_a_camera() -> None:
    camera = Camera(behind_ns=0)
    told = [camera.frame(n, 10 * MS if n < 100 else 310 * MS)[0] for n in range(200)]
    assert [one.at_ns for one in told] == [truth(n) for n in range(200)]


@given(st.lists(st.integers(0, 400 * MS), min_size=40, max_size=120), st.randoms(use_true_random=False))
def test_jitter_is_taken_out_of_arrival_times(jitter: list[int], chance: random.Random) -> None:
    """In every second some frame hardly waits; all are then timed as if none had waited, and come in order."""
    camera = Camera()
    arrived = 0
    told = []
    for n in range(1000):
        wait = 0 if n % 20 == 7 else jitter[chance.randrange(len(jitter))]
        arrived = max(n * 40 * MS + 80 * MS + wait, arrived + 1)  # frames do not overtake each other
        told.append(camera.frame(n, arrived - n * 40 * MS)[0])
    settled = [one.at_ns - truth(n) for n, one in enumerate(told) if n >= 50]
    assert max(settled) - min(settled) <= 40 * MS + 1000  # not to overtake takes some of them a nanosecond or more
    assert all(one.clock is Clock.ARRIVAL for one in told)


def test_frames_on_time_are_timed_exactly_and_the_uncertainty_shrinks_to_what_cannot_be_measured() -> None:
    camera = Camera()
    told = [camera.frame(n, 80 * MS)[0] for n in range(100)]
    assert [one.at_ns for one in told] == [truth(n) + 80 * MS for n in range(100)]
    assert told[0].uncertainty_ns == 2 * UNKNOWN_DELAY_NS
    assert told[-1].uncertainty_ns == UNKNOWN_DELAY_NS


delays = st.lists(st.integers(0, 8 * NS), min_size=2, max_size=80)
pts_of_frames = st.one_of(st.none(), st.integers(-(2**40), 2**40))


@given(delays, st.data(), st.one_of(st.none(), st.integers(-10 * NS, 10 * NS)))
def test_whatever_arrives_times_never_go_back_and_are_never_in_the_future(
    delays: list[int], data: st.DataObject, behind_ns: int | None
) -> None:
    camera = Camera(behind_ns=behind_ns)
    arrived, last = 0, 0
    for n, delay in enumerate(delays):
        arrived = max(n * 40 * MS + delay, arrived)
        camera.behind_ns = data.draw(st.sampled_from([behind_ns, None]))
        told, now = camera.frame(n, arrived - n * 40 * MS, data.draw(pts_of_frames))
        assert last <= told.at_ns <= now
        assert told.uncertainty_ns is not None and told.uncertainty_ns > 0
        last = told.at_ns


@pytest.mark.parametrize(
    "behind_ns",
    [EPOCH, 3600 * NS, -3600 * NS, MAX_DELAY_NS, -(MAX_EARLY_NS + 51 * MS)],
    ids=["1970", "an hour behind", "an hour ahead", "too far behind", "ahead"],
)
def test_a_camera_whose_clock_is_wrong_is_timed_by_arrival(behind_ns: int) -> None:
    camera = Camera(behind_ns=behind_ns)
    told = [camera.frame(n, 50 * MS)[0] for n in range(50)]
    assert {one.clock for one in told} == {Clock.ARRIVAL}
    assert told[-1].at_ns == truth(49) + 50 * MS
    assert camera.capture.wrong_by_ns == behind_ns + 50 * MS


def test_a_clock_exactly_at_the_limits_is_believed() -> None:
    for behind_ns in (MAX_DELAY_NS, -MAX_EARLY_NS):
        told, _ = Camera(behind_ns=behind_ns).frame(0, 0)
        assert told.clock is Clock.RTCP


def test_a_clock_near_the_limit_is_not_believed_and_disbelieved_in_turns() -> None:
    camera = Camera()
    clocks = []
    for n in range(100):
        camera.behind_ns = MAX_DELAY_NS + (MS if n % 2 else -MS)
        clocks.append(camera.frame(n, 0)[0].clock)
    assert sum(earlier is not later for earlier, later in pairwise(clocks)) <= 1


def test_a_clock_that_was_set_meanwhile_is_believed_again() -> None:
    camera = Camera(behind_ns=3600 * NS)
    camera.frame(0, 50 * MS)
    camera.behind_ns = 0
    told, _ = camera.frame(9, 50 * MS)
    assert (told.at_ns, told.clock, camera.capture.wrong_by_ns) == (truth(9), Clock.RTCP, None)


def test_a_stall_of_the_network_does_not_make_a_right_clock_wrong() -> None:
    camera = Camera(behind_ns=0)
    for n in range(100):
        camera.frame(n, 50 * MS)
    told = [camera.frame(n, (300 - n) * 40 * MS)[0] for n in range(100, 300)]  # eight seconds of frames at once
    assert {one.clock for one in told} == {Clock.RTCP}
    assert [one.at_ns for one in told] == [truth(n) for n in range(100, 300)]


def test_the_first_report_moves_times_back_by_holding_them_until_they_are_right() -> None:
    camera = Camera()
    before = [camera.frame(n, 300 * MS)[0] for n in range(50)][-1]
    camera.behind_ns = 0
    told = [camera.frame(n, 300 * MS)[0] for n in range(50, 70)]
    assert told[0].at_ns > before.at_ns
    assert told[0].uncertainty_ns is not None
    assert told[0].uncertainty_ns >= told[0].at_ns - truth(50)
    assert told[-1].at_ns == truth(69)


def test_media_time_that_was_made_up_after_a_jump_does_not_date_frames_back() -> None:
    camera = Camera()
    for n in range(100):
        camera.frame(n, 50 * MS)
    told, now = camera.frame(200, 50 * MS, pts=5)  # the camera rebooted for four seconds and counts from anew
    assert told.at_ns == now


def test_a_hosts_clock_that_is_set_back_is_followed() -> None:
    camera = Camera()
    for n in range(50):
        camera.frame(n, 50 * MS)
    camera.host_ns = -(CLOCK_SET_NS + 1)
    told, _ = camera.frame(50, 50 * MS)
    assert told.at_ns == truth(50) + 50 * MS + camera.host_ns


def test_clocks_that_drift_apart_are_followed() -> None:
    """A camera whose clock loses 100 ppm, for an hour: its frames take ever longer by their timestamps."""
    camera = Camera()
    for n in range(0, 25 * 3600, 5):
        told, now = camera.frame(n, 50 * MS + n * 40 * MS // 10_000)
    assert 0 <= now - told.at_ns <= 5 * MS
