"""A stream that harms its worker is kept apart, tried again ever later, and forgiven in the end."""

from __future__ import annotations

from itertools import pairwise

from vigil.conduct import CHANCES_ALONE, FIRST_PAUSE_S, GOOD_AFTER_S, LONGEST_PAUSE_S, Conduct


def test_the_first_harm_earns_a_worker_of_its_own_at_once() -> None:
    conduct = Conduct()
    assert not conduct.alone("gate")
    assert conduct.harmed("gate", 0.0) == 0.0
    assert conduct.alone("gate")
    assert not conduct.alone("yard")


def test_alone_it_is_tried_again_ever_later() -> None:
    conduct = Conduct()
    pauses = [conduct.harmed("gate", 0.0) for _ in range(20)]
    assert pauses[: CHANCES_ALONE + 1] == [0.0] * (CHANCES_ALONE + 1)
    assert pauses[CHANCES_ALONE + 1] == FIRST_PAUSE_S
    assert pauses[-1] == LONGEST_PAUSE_S
    assert all(earlier <= later for earlier, later in pairwise(pauses))


def test_it_is_forgiven_after_a_good_while_but_not_for_the_time_it_was_paused() -> None:
    conduct = Conduct()
    conduct.harmed("gate", 0.0)
    assert conduct.reformed(GOOD_AFTER_S) == []
    assert conduct.reformed(GOOD_AFTER_S + 1) == ["gate"]
    assert not conduct.alone("gate")
    for _ in range(CHANCES_ALONE + 2):
        conduct.harmed("yard", 0.0)
    assert conduct.reformed(GOOD_AFTER_S + FIRST_PAUSE_S) == []
    assert conduct.reformed(GOOD_AFTER_S + FIRST_PAUSE_S + 1) == ["yard"]


def test_a_stream_that_was_changed_starts_afresh() -> None:
    conduct = Conduct()
    conduct.harmed("gate", 0.0)
    conduct.forget("gate")
    assert not conduct.alone("gate")
