"""The bitrate that viewers share: the worst sensible network sets it, a hopeless one drags nobody down."""

from __future__ import annotations

import pytest

from publish.preview.outlet import Heard
from publish.preview.rate import AGAIN_LATEST_S, AGAIN_S, GOOD_S, LOSSY_REPORTS, Capacity, Trial, shared

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


def test_losses_count_once_several_reports_in_a_row_tell_of_them() -> None:
    one = Capacity(HIGH, HIGH)
    for lost in (0.5, 0.5, None, 0.05, *[0.5] * (LOSSY_REPORTS - 1)):
        one.learn(Heard(lost=lost, sent_bytes=1000), 1.0)
        assert not one.loses
    one.learn(Heard(sent_bytes=1000), 1.0)
    assert not one.loses, "nothing was reported"
    one.learn(Heard(lost=0.5, sent_bytes=1000), 1.0)
    assert one.loses
    one.learn(Heard(lost=0.0, sent_bytes=1000), 1.0)
    assert not one.loses


def pauses(trial: Trial, at: float, times: int) -> tuple[list[float], float]:
    """How long each time it was sent key frames only, if it loses whatever it is sent, and when that ended."""
    found = []
    for _ in range(times):
        assert trial.look(True, at)
        began = at
        while trial.look(False, at):
            at += 0.25
        found.append(at - began)
    return found, at


def test_a_cameras_video_is_tried_again_ever_more_rarely() -> None:
    found, _ = pauses(Trial(), 1000.0, 6)
    assert found == [AGAIN_S, 2 * AGAIN_S, 4 * AGAIN_S, 8 * AGAIN_S, AGAIN_LATEST_S, AGAIN_LATEST_S]


def test_what_went_well_for_long_is_tried_again_soon() -> None:
    trial = Trial()
    _, at = pauses(trial, 1000.0, 3)
    found, _ = pauses(trial, at + GOOD_S + 1, 1)
    assert found == [AGAIN_S]
