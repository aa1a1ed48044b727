"""The detector is asked where something happens, and what it would have told is told in time all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from inference.detections import Detections
from ingest.clock import NS
from ingest.frame import Frame
from tests.ingest.scenery import Box, Scenery
from tracking.attention.attention import Attention, Look
from tracking.attention.cadence import Cadence
from tracking.attention.config import AttentionConfig
from tracking.config import TrackerConfig
from tracking.events import Event, EventType
from tracking.following import Following
from tracking.lifecycle import Lifecycle
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.trackers import TRACKERS, new_tracker
from tracking.trackers.bytetrack import ByteTracker

Path = Callable[[float], Box | None]
"""Where something is at a time in seconds; None: not in the picture."""
Seen = Callable[[float], bool]
"""Whether the detector finds it at a time in seconds."""

SIZE = (320, 180)
RATE = 25.0
MODES = ("motion", "adaptive")


@dataclass
class Lived:
    """What became of a stream: the times at which the detector was asked, ids by frame, and what was told when."""

    asked: list[float] = field(default_factory=list)
    looks: Counter[Look] = field(default_factory=Counter)
    ids: list[list[int]] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)
    events: list[tuple[float, Event]] = field(default_factory=list)

    def told(self, kind: EventType) -> list[float]:
        return [at for at, event in self.events if event.type is kind]


def live(
    mode: str, paths: list[Path], seconds: float, *, delay: int = 0, seen: Seen | list[Seen] = lambda _: True,
    kind: str = "bytetrack", **rules: Any,
) -> Lived:  # fmt: skip
    """A stream of a scene, with a detector that finds everything, or each thing, while `seen`, and answers `delay`
    frames late."""
    scenery = Scenery(SIZE, RATE, noise=1.0)
    attention = Attention(AttentionConfig(mode=mode)) if mode != "off" else None  # type: ignore[arg-type]
    config = TrackerConfig(kind=kind)
    following = Following(
        new_tracker(config, RATE),
        Lifecycle("gate", 1, config.lost_after, ("thing",), rules.get("zones", {}), rules.get("lines", {})),
        Cadence(config.lost_after, config.high_confidence) if attention else None,
    )
    finds = seen if isinstance(seen, list) else [seen] * len(paths)
    lived = Lived()
    waiting: list[tuple[int, Frame, Look]] = []

    def settle(n: int) -> None:
        while waiting and waiting[0][0] <= n:
            _, frame, look = waiting.pop(0)
            at = frame.pts_ns / NS
            if look is Look.DETECT:
                present = [
                    box
                    for path, is_seen in zip(paths, finds, strict=True)
                    if (box := path(at)) is not None and is_seen(at)
                ]
                found = np.array(present, np.float32).reshape(-1, 4)
                ones = np.full(len(found), 0.9, np.float32)
                tracks, events = following.analysed(frame, Detections(found, ones, np.zeros(len(found), np.int32)))
                if attention is not None:
                    assert following.view is not None
                    attention.told(following.view)
            else:
                tracks, events = following.skipped(frame, look is Look.HOLD)
            lived.ids.append(tracks.track_ids.tolist())
            lived.boxes.append(tracks.boxes)
            lived.events += [(at, event) for event in events]

    for n in range(round(seconds * RATE)):
        settle(n)
        things = [box for path in paths if (box := path(n / RATE)) is not None]
        frame = scenery.frame(n, things, luma=None if attention is not None else scenery.ground)  # nobody looks at it
        look = attention.look(frame) if attention is not None else Look.DETECT
        lived.looks[look] += 1
        if look is Look.DETECT:
            lived.asked.append(n / RATE)
            if attention is not None:
                attention.asks(frame)
        waiting.append((n + 1 + delay if look is Look.DETECT else n, frame, look))
    settle(10**9)
    return lived


def parked(at: float) -> Box:
    return 200.0, 100.0, 240.0, 130.0


def walks(start: float, end: float, speed: float = 40.0, y: float = 40.0) -> Path:
    """Through the picture from the left; `speed` in pixels a second. It is there from `start` until `end`."""

    def where(at: float) -> Box | None:
        x = speed * (at - start)
        return (x, y, x + 20, y + 45) if start <= at < end else None

    return where


@pytest.mark.parametrize("mode", MODES)
def test_a_parked_object_stays_one_track_over_a_minute_of_nothing(mode: str) -> None:
    lived = live(mode, [parked], 60)
    assert lived.ids[5:] == [[1]] * len(lived.ids[5:])
    assert len(lived.asked) <= 60 / 5 + 4
    assert lived.told(EventType.TRACK_STARTED) and not lived.told(EventType.TRACK_ENDED)


@pytest.mark.parametrize("mode", MODES)
def test_where_nothing_happens_the_detector_is_asked_every_few_seconds(mode: str) -> None:
    asked = live(mode, [], 21).asked
    assert asked[0] == 0.0
    assert np.diff(asked) == pytest.approx([5.0] * 4, abs=0.05)


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("others", [[], [parked], [parked, walks(0, 60, 10, 120)]])
def test_who_comes_in_is_found_within_half_a_second(mode: str, others: list[Path], delay: int) -> None:
    newcomer = walks(8.0, 11.0)
    full = live("off", [*others, newcomer], 11, delay=delay)
    lived = live(mode, [*others, newcomer], 11, delay=delay)
    expected, found = full.told(EventType.TRACK_STARTED), lived.told(EventType.TRACK_STARTED)
    assert len(found) == len(expected)
    assert found[-1] == pytest.approx(expected[-1], abs=0.5)
    assert 8 <= found[-1] <= 8.5 + delay / RATE


@pytest.mark.parametrize("mode", MODES)
def test_who_leaves_has_ended_when_it_would_have_and_comes_back_as_another(mode: str) -> None:
    """While the picture is still, what was lost must neither live on nor be found again after it has ended."""
    paths = [parked, walks(1.0, 3.0), walks(7.0, 9.0)]
    full, lived = live("off", paths, 12), live(mode, paths, 12)
    for kind in (EventType.TRACK_STARTED, EventType.TRACK_ENDED):
        assert lived.told(kind) == pytest.approx(full.told(kind), abs=0.5)
    assert {i for ids in lived.ids for i in ids} == {i for ids in full.ids for i in ids}
    started = [event.track_id for _, event in lived.events if event.type is EventType.TRACK_STARTED]
    assert len(started) == len(set(started))


@pytest.mark.parametrize("mode", MODES)
def test_zones_and_lines_tell_what_they_would_have_told(mode: str) -> None:
    rules = {
        "zones": {"left": ZoneConfig.model_validate({
            "polygon": [(0.1, 0.2), (0.5, 0.2), (0.5, 0.9), (0.1, 0.9)], "dwell": 2})},
        "lines": {"door": LineConfig.model_validate({"from": (0.6, 0.1), "to": (0.6, 0.9)})},
    }  # fmt: skip
    paths = [parked, walks(1.0, 7.0, 50)]
    full, lived = (live(one, paths, 8, **rules) for one in ("off", mode))
    for kind in (EventType.ZONE_ENTERED, EventType.ZONE_DWELL, EventType.ZONE_LEFT, EventType.LINE_CROSSED):
        assert full.told(kind)
        assert lived.told(kind) == pytest.approx(full.told(kind), abs=0.5)


def test_an_object_that_stays_dwells_though_nobody_looks() -> None:
    zone = ZoneConfig.model_validate({"polygon": [(0.5, 0.4), (1, 0.4), (1, 1), (0.5, 1)], "dwell": 3.5})
    lived = live("adaptive", [parked], 4.5, zones={"lot": zone})
    assert lived.told(EventType.ZONE_DWELL) == pytest.approx([3.5], abs=0.3)
    assert len([at for at in lived.asked if at > 1]) == 0


def test_a_steady_walker_is_followed_with_a_fraction_of_the_looks() -> None:
    walker = walks(0.0, 7.0)
    full, lived = live("off", [walker], 7), live("adaptive", [walker], 7)
    assert len(lived.asked) <= len(full.asked) / 4
    assert {i for ids in lived.ids for i in ids} == {1}
    for n in range(50, 170):
        np.testing.assert_allclose(lived.boxes[n], full.boxes[n], atol=4)


def test_one_that_turns_is_looked_at_more_often_than_one_that_does_not() -> None:
    def zigzags(at: float) -> Box:
        x = 100 + 40 * float(np.sin(1.5 * at))
        return x, 60, x + 25, 110

    turning, steady = live("adaptive", [zigzags], 7), live("adaptive", [walks(0, 7)], 7)
    assert len(turning.asked) > 1.5 * len(steady.asked)
    assert {i for ids in turning.ids for i in ids} == {1}


def test_motion_mode_looks_at_every_frame_in_which_something_moves() -> None:
    lived = live("motion", [walks(2.0, 4.0, 100)], 8)
    assert len([at for at in lived.asked if 2.1 <= at < 4]) >= 45
    assert len([at for at in lived.asked if at > 6]) <= 1


def test_what_the_detector_overlooks_at_first_is_asked_about_again() -> None:
    lived = live("adaptive", [walks(1.0, 6.0)], 6, seen=lambda at: at >= 2.5)
    assert 2.5 <= lived.told(EventType.TRACK_STARTED)[0] <= 3.0
    assert len([at for at in lived.asked if 1 <= at < 2.5]) <= 15


def test_what_the_detector_loses_on_its_way_is_searched_for_and_not_taken_for_something_new() -> None:
    lived = live("adaptive", [walks(0.0, 7.0)], 7, seen=lambda at: not 3 <= at < 3.8)
    assert len([at for at in lived.asked if 3 <= at < 3.8]) <= 5
    assert {i for ids in lived.ids for i in ids} == {1}


def test_one_that_the_detector_loses_where_it_stands_does_not_wake_it_while_others_move() -> None:
    """A parked car that is seen in every other look, beside a walker."""
    flickers = iter([True, False] * 1000)
    lived = live("adaptive", [parked, walks(0.0, 7.0)], 7, seen=[lambda at: at < 2 or next(flickers), lambda at: True])
    steady = live("adaptive", [parked, walks(0.0, 7.0)], 7)
    assert len(lived.asked) <= 1.3 * len(steady.asked)
    assert {i for ids in lived.ids for i in ids} == {1, 2}


@pytest.mark.parametrize("kind", TRACKERS)
def test_with_every_tracker_events_are_those_of_off_at_a_fraction_of_the_looks(kind: str) -> None:
    """One stands, one comes, is hidden for a moment, crosses a line and leaves; then nothing moves for a while."""
    paths, hidden = [parked, walks(1.0, 5.0, 60)], [lambda _: True, lambda at: not 2.5 <= at < 2.9]
    lines = {"door": LineConfig.model_validate({"from": (0.55, 0.1), "to": (0.55, 0.9)})}
    full, lived = (live(mode, paths, 8, kind=kind, seen=hidden, lines=lines) for mode in ("off", "adaptive"))
    assert [len(full.told(one)) for one in (EventType.TRACK_STARTED, EventType.LINE_CROSSED)] == [2, 1]
    for one in (EventType.TRACK_STARTED, EventType.TRACK_ENDED, EventType.LINE_CROSSED):
        assert lived.told(one) == pytest.approx(full.told(one), abs=0.5)
    assert {i for ids in lived.ids for i in ids} == {1, 2}
    assert len(lived.asked) <= len(full.asked) / 5


def looked_at(n: int, things: list[Box], attention: Attention, scenery: Scenery) -> Look:
    look = attention.look(scenery.frame(n, things))
    if look is Look.DETECT:
        attention.asks(scenery.frame(n, things))
    return look


def test_a_frame_that_was_not_analysed_after_all_is_made_up_for_by_the_next() -> None:
    scenery, attention = Scenery(SIZE, RATE), Attention(AttentionConfig(mode="motion"))
    cadence = Cadence(1.5, 0.4)
    tracker = ByteTracker(TrackerConfig(), RATE)
    following = Following(tracker, Lifecycle("gate", 1, 1.5, ("thing",), {}, {}), cadence)
    assert looked_at(0, [], attention, scenery) is Look.DETECT
    following.analysed(scenery.frame(0), Detections.empty())
    assert following.view is not None
    attention.told(following.view)
    assert looked_at(1, [], attention, scenery) is not Look.DETECT
    attention.missed()
    assert looked_at(2, [], attention, scenery) is Look.DETECT
    assert looked_at(3, [], attention, scenery) is not Look.DETECT


def test_a_new_session_starts_with_a_look() -> None:
    scenery, attention = Scenery(SIZE, RATE), Attention(AttentionConfig(mode="adaptive"))
    following = Following(
        ByteTracker(TrackerConfig(), RATE), Lifecycle("gate", 1, 1.5, ("thing",), {}, {}), Cadence(1.5, 0.4)
    )
    for n in range(30):
        if looked_at(n, [], attention, scenery) is Look.DETECT:
            following.analysed(scenery.frame(n), Detections.empty())
            assert following.view is not None
            attention.told(following.view)
    first = scenery.frame(0)
    other = Frame("gate", 2, 0, 0, 0, 0, first.clock, None, first._native)
    assert attention.look(other) is Look.DETECT


@pytest.mark.parametrize(("written", "mode"), [
    (False, "off"), ("off", "off"), ("motion", "motion"), ("adaptive", "adaptive"), ({"mode": False}, "off"),
    ({"mode": "motion", "keep_alive": 2}, "motion"),
])  # fmt: skip
def test_attention_is_a_mode_or_a_mapping(written: Any, mode: str) -> None:
    assert TypeAdapter(AttentionConfig).validate_python(written).mode == mode


@pytest.mark.parametrize("written", ["on", True, "Motion", 3, {"mode": "always"}, {"keep_alive": 0}, {"keepalive": 3}])
def test_anything_else_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(AttentionConfig).validate_python(written)


def test_what_was_lost_before_the_picture_stood_still_does_not_come_back_after_it_has_ended() -> None:
    """Trackers let nothing age in frames in which nothing moves; the one that the detector lost must."""
    scenery = Scenery(SIZE, RATE)
    following = Following(
        ByteTracker(TrackerConfig(), RATE), Lifecycle("gate", 1, 1.5, ("thing",), {}, {}), Cadence(1.5, 0.4)
    )
    both = np.array([[200, 100, 240, 130], [40, 40, 80, 90]], np.float32)
    told: list[Event] = []

    def analysed(n: int, found: Any) -> None:
        ones = np.full(len(found), 0.9, np.float32)
        told.extend(following.analysed(scenery.frame(n), Detections(found, ones, np.zeros(len(found), np.int32)))[1])

    for n in range(3):
        analysed(n, both)
    analysed(3, both[:1])
    for n in range(4, 80):
        if n % 25 == 0:
            analysed(n, both[:1])
        else:
            told.extend(following.skipped(scenery.frame(n), stands=True)[1])
    for n in range(80, 83):
        analysed(n, both)
    ids = Counter(event.track_id for event in told if event.type is EventType.TRACK_STARTED)
    assert ids == {1: 1, 2: 1, 3: 1}
    assert [event.track_id for event in told if event.type is EventType.TRACK_ENDED] == [2]
