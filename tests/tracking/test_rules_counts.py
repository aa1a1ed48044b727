"""Counts over sliding windows are exact, whatever frames are missing, and go on over sessions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.clock import NS
from tests.tracking.scripted import ACROSS, MIDDLE, Script, walk
from tracking.events import CountType, EventType
from tracking.rules.config import LineConfig
from tracking.rules.lasting import Lasting
from tracking.rules.tally import Kind, Tally
from tracking.rules.timeline import Timeline

TO_RIGHT, TO_LEFT = Kind("person", "right"), Kind("person", "left")


def counting(windows: tuple[float, ...] = (), every: float | None = None) -> LineConfig:
    return ACROSS.model_copy(update={"windows": windows, "every": every})


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from([TO_RIGHT, TO_LEFT, None])), max_size=60))
def test_a_window_holds_what_was_told_within_it(steps: list[tuple[float, Kind | None]]) -> None:
    windows = (1.0, 4.0, 10.0)
    tally = Tally(counting(windows))
    told: list[tuple[int, Kind]] = []
    shown: dict[tuple[float, Kind], int] = {}
    now_ns = 0
    for step_s, kind in steps:
        now_ns += round(step_s * NS)
        if kind is not None:
            tally.add(kind, now_ns)
            told.append((now_ns, kind))
        tally.advance(now_ns)
        shown |= {(window, one): count for window, one, count in tally.changed()}
        for window in windows:
            recent = Counter(one for at, one in told if now_ns - window * NS < at)
            assert {one: shown.get((window, one), 0) for one in (TO_RIGHT, TO_LEFT)} == {
                one: recent[one] for one in (TO_RIGHT, TO_LEFT)
            }


@given(
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from([TO_RIGHT, TO_LEFT, None])), max_size=60), st.integers(1, 20)
)
def test_all_reports_together_count_everything_once(steps: list[tuple[float, Kind | None]], every: int) -> None:
    tally = Tally(counting(every=float(every)))
    added: Counter[Kind] = Counter()
    told: Counter[Kind] = Counter()
    numbers, over_s, now_ns = [], 0.0, 0
    for step_s, kind in [*steps, (float(every), None)]:
        now_ns += round(step_s * NS)
        if kind is not None:
            tally.add(kind, now_ns)
            added[kind] += 1
        if (report := tally.report(now_ns)) is not None:
            numbers.append(report[0])
            over_s += report[1]
            for one in report[2]:
                told[Kind(one.class_name, one.direction)] += one.count
    assert told == added
    assert over_s == pytest.approx(now_ns / NS)
    assert numbers == sorted(set(numbers))


def crossings(period_s: float) -> dict[int, object]:
    """Somebody crosses to the right every `period_s`, each a track of its own."""
    return {
        n + 1: walk((n * period_s, 0.5, 0.3), (n * period_s + 1, 0.5, 0.7)) for n in range(int(20 / period_s))
    }  # fmt: skip


@pytest.mark.parametrize("kept", [lambda t: True, lambda t: round(t * 25) % 4 != 1, lambda t: not 7 < t < 7.4])
def test_dropped_frames_do_not_change_the_counts(kept: object) -> None:
    line, zone = counting((5.0, 60.0), 10.0), MIDDLE.model_copy(update={"every": 10.0})
    script = Script({"zone": zone}, {"line": line}, kept=kept)
    events = script.play(crossings(2.0), 21)
    crossed = [event for event in events if event.type is EventType.LINE_CROSSED]
    assert len(crossed) == 10
    reports = [report for report in script.reports if report.type is CountType.LINE_COUNTED]
    assert [(report.place, report.number, report.counts[0].count) for report in reports] == [
        ("line", 1, 5),
        ("line", 2, 5),
    ]
    # At 10 and at 20 s, the last five seconds hold those who crossed at 6.5 and 8.5, or 16.5 and 18.5.
    assert [report.counts[0].windows for report in reports] == [{5.0: 2, 60.0: 5}, {5.0: 2, 60.0: 10}]
    assert [report.counts[0].direction for report in reports] == ["right", "right"]
    entries = [report for report in script.reports if report.type is CountType.ZONE_COUNTED]
    assert sum(one.count for report in entries for one in report.counts) == 10
    ids = [one.event_id for one in [*events, *script.reports]]
    assert len(set(ids)) == len(ids)


def test_a_report_of_nobody_is_told_too() -> None:
    script = Script(lines={"line": counting((), 1.0)})
    script.play({}, 3.1)
    assert [(report.number, report.counts) for report in script.reports] == [(1, ()), (2, ()), (3, ())]


def test_windows_go_on_over_a_reconnect_by_the_capture_times() -> None:
    line = counting((60.0,))
    lasting = Lasting({}, {"line": line})
    shown: dict[float, int] = {}
    tally = lasting.tallies[CountType.LINE_COUNTED, "line"]
    for session, began_s in ((1, 1000.0), (2, 1030.0), (3, 1075.0)):
        script = Script(lines={"line": line}, lasting=lasting, session=session, began_s=began_s)
        script.play({1: walk((0, 0.5, 0.3), (1, 0.5, 0.7), (2, 0.5, 0.9))}, 2)
        shown[began_s] = [count for _, _, count in tally.changed()][-1]
    assert shown == {1000.0: 1, 1030.0: 2, 1075.0: 2}, "75 s later the first one is out of the window"


def test_a_timeline_never_goes_back() -> None:
    timeline = Timeline()
    assert timeline.advance(1, 5 * NS, 100 * NS) == 0
    assert timeline.advance(1, 7 * NS, 102 * NS) == 2 * NS
    assert timeline.advance(2, 0, 110 * NS) == 10 * NS
    assert timeline.advance(3, 0, 90 * NS) == 10 * NS, "a clock that was set back"


@pytest.mark.parametrize(
    "settings", [{"windows": [1, 2, 3, 4, 5]}, {"windows": [0]}, {"every": 0.5}, {"windows": [100000]}]
)
def test_windows_and_reports_have_bounds(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LineConfig.model_validate({"from": (0, 0.5), "to": (1, 0.5), **settings})
