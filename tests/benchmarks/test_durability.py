"""Whatever is killed or lost on the way, each promised event arrives once and in order: the benchmark, short."""

from __future__ import annotations

import pytest

from benchmarks.durability import judged, play


@pytest.mark.parametrize("scenario", ["all_killed", "acks_lost"])
def test_nothing_is_lost_doubled_or_out_of_order(scenario: str) -> None:
    outcome = play(scenario, size=0.1, rate=200)
    assert outcome.published > 100
    assert (outcome.lost, outcome.duplicated, outcome.out_of_order) == (0, 0, 0)


def test_the_judge_sees_what_is_wrong() -> None:
    def event(n: int) -> str:
        return f"site-cam0-1-{n}-line.crossed"

    promised = {event(n) for n in range(4)}
    assert judged(promised, {7: event(0), 8: event(1), 9: event(2), 10: event(3)}).well
    assert judged(promised, {7: event(0), 8: event(1), 10: event(3)}).lost == 1
    assert judged(promised, {7: event(0), 8: event(1), 9: event(1), 10: event(3)}).duplicated == 1
    assert judged(promised, {7: event(0), 8: event(2), 9: event(1), 10: event(3)}).out_of_order == 1
    unpromised = judged(promised, {n: event(n) for n in range(5)})
    assert (unpromised.published, unpromised.received, unpromised.lost) == (4, 5, 0)
