"""Waits grow, are capped and spread, and a peer may ask for longer ones."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from publish.bridges.backoff import MAX_ASKED_S, MAX_DELAY_S, delay_s, retry_after_s

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def test_waits_double_up_to_the_longest() -> None:
    rng = random.Random(1)
    waits = [delay_s(failures, rng) for failures in range(1, 40)]
    for failures, wait in enumerate(waits, 1):
        expected = min(MAX_DELAY_S, 0.5 * 2 ** (failures - 1))
        assert 0.8 * expected <= wait <= 1.2 * expected
    assert len(set(waits)) == len(waits)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0.0), ("7", 7.0), ("-7", 0.0), ("1e3", 0.0), ("soon", 0.0), ("99999999", MAX_ASKED_S),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0), ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0), ("", 0.0),
    ],
)  # fmt: skip
def test_a_peer_asks_for_seconds_or_names_a_time(header: str | None, seconds: float) -> None:
    assert retry_after_s(header, NOW) == seconds
