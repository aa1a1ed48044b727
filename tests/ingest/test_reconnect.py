"""How long a stream waits between connections."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Reason
from ingest.reconnect import FIRST_AUTH_DELAY_S, FIRST_DELAY_S, MAX_AUTH_DELAY_S, MAX_DELAY_S, Backoff

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


@given(st.integers(), st.lists(st.one_of(st.none(), st.sampled_from(list(Reason))), max_size=60))
def test_no_delay_is_outside_its_bounds(seed: int, history: list[Reason | None]) -> None:
    """None stands for a connection that delivered."""
    backoff = Backoff(random.Random(seed))
    for reason in history:
        if reason is None:
            backoff.succeeded()
            continue
        first, cap = (FIRST_AUTH_DELAY_S, MAX_AUTH_DELAY_S) if reason is Reason.AUTH else (FIRST_DELAY_S, MAX_DELAY_S)
        assert first * JITTER[0] <= backoff.failed(reason) <= cap * JITTER[1]


@pytest.mark.parametrize("failures", [1, 5, 1000])
def test_success_starts_over_from_the_shortest_delay(failures: int) -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(failures):
        backoff.failed(Reason.LOST)
    backoff.succeeded()
    assert backoff.failed(Reason.LOST) <= FIRST_DELAY_S * JITTER[1]


def test_cameras_that_failed_together_do_not_come_back_together() -> None:
    delays = {Backoff(random.Random(seed)).failed(Reason.LOST) for seed in range(20)}
    assert len(delays) == 20
