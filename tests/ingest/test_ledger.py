"""Every decoded frame is accounted for, and frames leave in the order in which they came."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ingest.ledger import Fate, FrameLedger
from ingest.metrics import IngestMetrics

Ledger = FrameLedger[str, int]
settled_fates = st.sampled_from([Fate.ANALYSED, Fate.DROPPED_STALE, Fate.DROPPED_DETECTOR, Fate.DROPPED_ERROR])


@given(st.data())
def test_frames_add_up_and_leave_in_order_whatever_happens(data: st.DataObject) -> None:
    ledger = Ledger()
    decoded = 0
    on_way: dict[int, str] = {}
    expected: list[str] = []  # what must be released, in this order
    released: list[str] = []
    results: dict[str, int] = {}
    fates: Counter[Fate] = Counter()
    steps = data.draw(st.lists(st.sampled_from(["skip", "pass", "depart", "mark", "settle", "withdraw", "release"]),
                               max_size=80))  # fmt: skip
    for number, step in enumerate(steps):
        if step == "skip":
            ledger.count(Fate.SKIPPED_SAMPLE)
            fates[Fate.SKIPPED_SAMPLE] += 1
            decoded += 1
        elif step == "pass":
            item = f"frame {number}"
            if ledger.pass_by(item, Fate.SKIPPED_MOTION):
                expected.append(item)
            fates[Fate.SKIPPED_MOTION] += 1
            decoded += 1
        elif step == "depart":
            item = f"frame {number}"
            on_way[ledger.depart(item)] = item
            expected.append(item)
            decoded += 1
        elif step == "mark":
            ledger.mark(f"mark {number}")
            expected.append(f"mark {number}")
        elif step == "settle" and on_way:
            ticket = data.draw(st.sampled_from(sorted(on_way)))
            item, fate = on_way.pop(ticket), data.draw(settled_fates)
            assert ledger.settle(ticket, fate, number) == item
            assert ledger.settle(ticket, fate, -1) is None
            results[item] = number
            fates[fate] += 1
        elif step == "withdraw" and on_way:
            ticket = data.draw(st.sampled_from(sorted(on_way)))
            ledger.withdraw(ticket)
            expected.remove(on_way.pop(ticket))
            decoded -= 1
        elif step == "release":
            for item, result in ledger.release():
                assert item not in on_way.values()
                assert result == results.get(item)
                released.append(item)
            waiting = [item for item in expected if item not in released]
            assert not waiting or waiting[0] in on_way.values()
        counted, in_flight = ledger.balance()
        assert sum(counted.values()) + in_flight == decoded
        assert counted == dict(fates)
        assert in_flight == len(on_way)
        assert set(ledger.unsettled()) == set(on_way)
        assert released == expected[: len(released)]
    for ticket in ledger.unsettled():
        ledger.settle(ticket, Fate.DROPPED_DETECTOR)
    released += [item for item, _ in ledger.release()]
    assert released == expected
    assert ledger.balance()[1] == 0


def test_an_answer_waits_for_the_ones_before_it() -> None:
    ledger = Ledger()
    first, second = ledger.depart("a"), ledger.depart("b")
    ledger.settle(second, Fate.ANALYSED, 2)
    assert ledger.release() == []
    ledger.settle(first, Fate.ANALYSED, 1)
    assert ledger.release() == [("a", 1), ("b", 2)]


def test_a_mark_is_released_after_the_frames_before_it() -> None:
    ledger = Ledger()
    before = ledger.depart("a")
    ledger.mark("session ends")
    after = ledger.depart("b")
    ledger.settle(after, Fate.ANALYSED, 2)
    assert ledger.release() == []
    ledger.settle(before, Fate.DROPPED_DETECTOR)
    assert [item for item, _ in ledger.release()] == ["a", "session ends", "b"]


def test_a_mark_with_nothing_before_it_is_released_at_once_and_is_no_frame() -> None:
    ledger = Ledger()
    ledger.mark("session starts")
    assert ledger.balance() == ({}, 0)
    assert ledger.release() == [("session starts", None)]


def test_settling_a_released_frame_again_is_harmless() -> None:
    ledger = Ledger()
    ticket = ledger.depart("a")
    ledger.settle(ticket, Fate.ANALYSED, 1)
    ledger.release()
    assert ledger.settle(ticket, Fate.DROPPED_DETECTOR) is None
    assert ledger.balance() == ({Fate.ANALYSED: 1}, 0)


def test_a_ticket_that_was_never_given_is_harmless() -> None:
    assert Ledger().settle(99, Fate.ANALYSED) is None


def test_a_dropped_frame_has_no_result() -> None:
    ledger = Ledger()
    ledger.settle(ledger.depart("a"), Fate.DROPPED_STALE)
    assert ledger.release() == [("a", None)]


@pytest.mark.parametrize("in_flight", [0, 1, 3])
def test_a_scrape_adds_up_at_any_time(in_flight: int) -> None:
    registry = CollectorRegistry()
    ledger = Ledger()
    IngestMetrics(registry).ledgers.add("gate", ledger)
    ledger.count(Fate.SKIPPED_SAMPLE)
    ledger.settle(ledger.depart("a"), Fate.ANALYSED, 1)
    for _ in range(in_flight):
        ledger.depart("b")

    def value(outcome: str) -> float:
        return registry.get_sample_value("vigil_frames_total", {"stream": "gate", "outcome": outcome}) or 0.0

    assert registry.get_sample_value("vigil_frames_in_flight", {"stream": "gate"}) == in_flight
    assert value("decoded") == sum(value(fate.value) for fate in Fate) + in_flight == 2 + in_flight
