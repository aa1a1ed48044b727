"""The bitrate that viewers share: the worst sensible network sets it, a hopeless one drags nobody down."""

from __future__ import annotations

import pytest

from publish.preview.outlet import Heard
from publish.preview.rate import Capacity, shared

LOW, HIGH = 300_000, 2_500_000


def capacities(*bits: float) -> list[Capacity]:
    return [Capacity(one, HIGH) for one in bits]


def test_a_network_that_loses_packets_takes_less_and_then_slowly_more() -> None:
    one = Capacity(HIGH, HIGH)
    one.learn(Heard(lost=0.2, sent_bytes=250_000), 1.0)
    assert one.bits == pytest.approx(2_000_000 * 0.9)
    one.learn(Heard(lost=0.05, sent_bytes=200_000), 1.0)
    assert one.bits == pytest.approx(1_800_000), "some loss is borne"
    one.learn(Heard(lost=0.0, sent_bytes=200_000), 1.0)
    assert 1_800_000 < one.bits < 2_000_000
    for _ in range(20):
        one.learn(Heard(lost=0.0), 1.0)
    assert one.bits == HIGH


def test_an_estimate_counts_only_below_what_was_sent() -> None:
    one = Capacity(HIGH, HIGH)
    one.learn(Heard(estimate=150_000, sent_bytes=10_000), 1.0)
    assert one.bits == HIGH, "a still picture needs no more, and more was not measured"
    one.learn(Heard(estimate=1_000_000, sent_bytes=200_000), 1.0)
    assert one.bits == 1_000_000


def test_the_worst_sensible_network_sets_the_bitrate() -> None:
    assert shared(capacities(HIGH, 1_000_000, 2_000_000), LOW, HIGH).bits == 1_000_000


def test_a_hopeless_network_gets_key_frames_and_drags_nobody_down() -> None:
    agreed = shared(capacities(HIGH, HIGH, 100_000), LOW, HIGH)
    assert agreed.bits == HIGH
    assert agreed.least > 100_000


@pytest.mark.parametrize(("bits", "served"), [(625_000, True), (624_000, False)])
def test_a_quarter_of_the_medians_is_sensible(bits: int, served: bool) -> None:
    agreed = shared(capacities(HIGH, HIGH, bits), LOW, HIGH)
    assert (bits >= agreed.least) == served


def test_who_is_alone_or_among_equals_is_served_however_bad_it_is() -> None:
    agreed = shared(capacities(100_000, 120_000), LOW, HIGH)
    assert (agreed.bits, agreed.least) == (LOW, 0.0)
    assert shared([], LOW, HIGH).bits == HIGH
