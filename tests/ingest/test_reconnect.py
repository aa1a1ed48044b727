"""How long a stream waits between connections."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Reason
from ingest.reconnect import (
    FIRST_AUTH_DELAY_S,
    FIRST_DELAY_S,
    MAX_AUTH_DELAY_S,
    MAX_DELAY_S,
    STEADY_S,
    Backoff,
)

JITTER = (0.8, 1.2)


def middle(delay: float) -> tuple[float, float]:
    """The delays without jitter that this one can come from."""
    return delay / JITTER[1], delay / JITTER[0]


@given(st.integers(), st.sampled_from([r for r in Reason if r is not Reason.AUTH]))
def test_delays_double_from_half_a_second_to_the_cap(seed: int, reason: Reason) -> None:
    backoff = Backoff(random.Random(seed))
    for expected in (0.5, 1, 2, 4, 8, 16, 30, 30, 30):
        least, most = middle(backoff.failed(reason))
        assert least <= expected * (1 + 1e-9)
        assert most >= expected * (1 - 1e-9)


@given(st.integers())
def test_a_refused_password_waits_long_enough_not_to_lock_the_account(seed: int) -> None:
    backoff = Backoff(random.Random(seed))
    for expected in (30, 60, 120, 240, 480, 600, 600):
        least, most = middle(backoff.failed(Reason.AUTH))
        assert least <= expected * (1 + 1e-9)
        assert most >= expected * (1 - 1e-9)


@given(st.integers(), st.lists(st.tuples(st.sampled_from(list(Reason)), st.floats(0, 100)), max_size=60))
def test_no_delay_is_outside_its_bounds(seed: int, history: list[tuple[Reason, float]]) -> None:
    backoff = Backoff(random.Random(seed))
    for reason, live_s in history:
        first, cap = (FIRST_AUTH_DELAY_S, MAX_AUTH_DELAY_S) if reason is Reason.AUTH else (FIRST_DELAY_S, MAX_DELAY_S)
        assert first * JITTER[0] <= backoff.failed(reason, live_s) <= cap * JITTER[1]


@pytest.mark.parametrize("failures", [1, 5, 1000])
@pytest.mark.parametrize("reason", [Reason.LOST, Reason.AUTH])
def test_a_steady_connection_starts_over_from_the_shortest_delay(failures: int, reason: Reason) -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(failures):
        backoff.failed(reason)
    first = FIRST_AUTH_DELAY_S if reason is Reason.AUTH else FIRST_DELAY_S
    assert backoff.failed(reason, live_s=STEADY_S) <= first * JITTER[1]


def test_a_camera_that_delivers_a_little_and_dies_each_time_is_asked_ever_less_often() -> None:
    backoff = Backoff(random.Random(1))
    delays = [backoff.failed(Reason.LOST, live_s=STEADY_S * 0.99) for _ in range(7)]
    assert delays[-1] >= MAX_DELAY_S * JITTER[0]


def test_a_login_is_tried_no_more_often_because_the_camera_is_away_in_between() -> None:
    backoff = Backoff(random.Random(1))
    for expected in (30, 60, 120):
        least, most = middle(backoff.failed(Reason.AUTH))
        assert least <= expected * (1 + 1e-9)
        assert most >= expected * (1 - 1e-9)
        backoff.failed(Reason.TIMEOUT)


def test_a_camera_that_was_away_for_long_and_then_refuses_is_not_taken_for_one_that_refused_as_long() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(20):
        backoff.failed(Reason.TIMEOUT)
    assert backoff.failed(Reason.AUTH) <= FIRST_AUTH_DELAY_S * JITTER[1]


def test_cameras_that_failed_together_do_not_come_back_together() -> None:
    delays = {Backoff(random.Random(seed)).failed(Reason.LOST) for seed in range(20)}
    assert len(delays) == 20
