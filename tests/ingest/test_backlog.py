"""A camera that is decoded too slowly is caught up with; one that only seems late is left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import pytest

from ingest.sources.backlog import CAUGHT_UP_S, LATE_S, STRETCH_S, STRETCHES, Backlog

RATE, KEY_EVERY = 25, 50
BASE = Fraction(1, 90_000)


@dataclass
class Seen:
    """One packet: when it was in hand, by how much later than taken, and whether it was decoded."""

    at: float
    late_s: float
    decoded: bool


def play(
    seconds: float,
    decode_s: Callable[[float], float] = lambda now: 0.01,
    stamp: Callable[[float], float] = lambda taken: taken,
    arrives: Callable[[float], float] = lambda taken: taken,
) -> list[Seen]:
    """A camera at 25 frames a second, read in order.

    Args:
        decode_s: how long decoding takes, by the time.
        stamp: the timestamp of a picture, by when it was taken.
        arrives: when it can be read; what is not read waits.
    """
    backlog, now, seen = Backlog(), 0.0, []
    for number in range(round(seconds * RATE)):
        taken = number / RATE
        packet = av.Packet(b"x")
        packet.dts = packet.pts = round(stamp(taken) / BASE)
        packet.time_base, packet.is_keyframe = BASE, number % KEY_EVERY == 0
        waited = max(0.0, arrives(taken) - now)
        now += waited
        backlog.waited(waited, now)
        decoded = not backlog.passes_over(packet, now)
        seen.append(Seen(now, now - taken, decoded))
        now += decode_s(now) if decoded else 0.0005
    return seen


def test_whoever_keeps_up_decodes_everything() -> None:
    assert all(one.decoded for one in play(60, decode_s=lambda now: 0.9 * 0.75 / RATE))


@pytest.mark.parametrize("slowness", [1.05, 1.5, 3.0, 10.0])
def test_what_is_decoded_is_never_much_older_than_it_may_be(slowness: float) -> None:
    seen = play(300, decode_s=lambda now: slowness / RATE)
    decoded = [one for one in seen if one.decoded]
    assert max(one.late_s for one in decoded) < LATE_S + (STRETCHES + 2) * (STRETCH_S + slowness / RATE)
    share = len(decoded) / len(seen)
    assert 0.5 / slowness < share <= 1 / slowness + 0.05


def test_decoding_goes_on_with_a_key_frame_that_is_up_to_date() -> None:
    seen = play(120, decode_s=lambda now: 2 / RATE)
    resumed = [n for n in range(1, len(seen)) if seen[n].decoded and not seen[n - 1].decoded]
    assert len(resumed) > 5
    for n in resumed:
        assert n % KEY_EVERY == 0 and seen[n].late_s <= CAUGHT_UP_S + 1 / RATE


def test_a_hiccup_passes_nothing_over_that_can_be_made_up_for() -> None:
    seen = play(60, decode_s=lambda now: 2.0 if 30 <= now < 30.04 else 0.01)
    assert all(one.decoded for one in seen)


def test_a_network_that_was_held_up_and_delivers_at_once_is_no_backlog() -> None:
    assert all(one.decoded for one in play(60, arrives=lambda taken: max(taken, 33.0) if taken > 30 else taken))


@pytest.mark.parametrize("pace", [0.9, 1.1, 0.0])
def test_timestamps_that_run_slow_or_fast_or_not_at_all_are_no_backlog(pace: float) -> None:
    assert all(one.decoded for one in play(300, stamp=lambda taken: pace * taken))


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, 5.0])
def test_timestamps_that_jump_are_no_backlog(jump: float) -> None:
    assert all(one.decoded for one in play(60, stamp=lambda taken: 4000 + taken + (jump if taken > 30 else 0)))


def test_a_delay_that_stays_is_got_used_to() -> None:
    """It comes together with too much to do, and is still there when that is over."""
    seen = play(
        120, decode_s=lambda now: 2 / RATE if now < 40 else 0.01, arrives=lambda taken: taken + (5 if taken > 35 else 0)
    )
    assert all(one.decoded for one in seen[60 * RATE :])


def test_packets_without_times_are_decoded() -> None:
    backlog = Backlog()
    for now in range(100):
        backlog.waited(0.0, float(now))
        assert not backlog.passes_over(av.Packet(b"x"), float(now))
