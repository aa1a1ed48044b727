"""RTP time: at the camera's pace within a session, at that of arrivals where one begins or a clock jumps."""

from __future__ import annotations

from publish.preview.timeline import CLOCK_HZ, REMEMBERED, Timeline, on_wire

S = 10**9
TICK = 1 / 1000  # of the camera's pts, seconds


def test_pictures_are_as_far_apart_as_the_camera_says_however_they_arrive() -> None:
    line = Timeline(0)
    first = line.place(1, 5000, TICK, 100 * S)
    assert line.place(1, 5040, TICK, 101 * S) - first == CLOCK_HZ // 25
    assert line.place(1, 5080, TICK, 101 * S) - first == 2 * CLOCK_HZ // 25


def test_a_new_session_follows_after_as_long_as_it_took_to_come() -> None:
    line = Timeline(0)
    last = line.place(1, 90_000, TICK, 100 * S)
    begun = line.place(2, 10, TICK, 103 * S)
    assert begun - last == 3 * CLOCK_HZ
    assert line.place(2, 50, TICK, 103 * S) - begun == CLOCK_HZ // 25


def test_a_clock_that_jumps_is_not_believed() -> None:
    line = Timeline(0)
    last = line.place(1, 1000, TICK, 100 * S)
    for pts in (900_000, 10, 11):
        now = line.place(1, pts, TICK, 101 * S)
        assert 0 < now - last <= CLOCK_HZ + 100
        last = now if pts != 900_000 else last
    assert line.place(1, 51, TICK, 101 * S) > now


def test_times_grow_even_if_the_cameras_do_not() -> None:
    line = Timeline(0)
    times = [line.place(1, pts, TICK, 100 * S) for pts in (5, 5, 4, 6)]
    assert times == sorted(set(times))


def test_a_picture_is_found_again_for_a_while() -> None:
    line = Timeline(0)
    times = {pts: line.place(1, pts, TICK, pts * 10**6) for pts in range(0, 40 * (REMEMBERED + 1), 40)}
    newest = max(times)
    assert line.of(1, newest) == times[newest]
    assert line.of(2, newest) is None
    assert line.of(1, 0) is None, "forgotten"
    assert line.of(1, 40) == times[40]


def test_the_clock_wraps_on_the_wire_only() -> None:
    line = Timeline((1 << 32) - 10)
    first, second = line.place(1, 0, TICK, 0), line.place(1, 1000, TICK, S)
    assert second > first
    assert on_wire(second) < on_wire(first) or on_wire(first) < CLOCK_HZ
