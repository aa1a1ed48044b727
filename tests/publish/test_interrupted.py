"""Whatever a killed process had begun is ended as it would have ended it, wherever it was cut off."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.input import InputSpec
from inference.model import ModelInfo
from publish.interrupted import begins, endings, ends, renews
from publish.schema import TrackEvent
from publish.schema.composer import Composer
from tests.tracking.scripted import MIDDLE, Script, walk
from tracking.events import EndReason, EventType

MODEL = ModelInfo(
    "toy", "0123456789abcdef", ("person", "car", "backpack"), "yolo", InputSpec(), 640, "openvino", "cpu", "fp32"
)
COMPOSER = Composer("hq", MODEL, "cafe0123", 0.25)
ZONES = {
    "middle": MIDDLE.model_copy(update={"stopped": 1.0, "loiter": 3.0, "dwell": 1.0}),
    "all": MIDDLE.model_copy(update={"polygon": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]}),
}


@pytest.fixture(scope="module")
def events() -> list[TrackEvent]:
    """Two objects: one passes, stands for a while and goes on, the other stays."""
    paths = {
        1: walk((0, 0.1, 0.5), (1, 0.5, 0.5), (4, 0.5, 0.5), (5, 0.9, 0.5), (6, 0.9, 0.6)),
        2: walk((0.5, 0.3, 0.4), (3, 0.6, 0.6), (6, 0.3, 0.6), (9, 0.6, 0.5)),
    }
    return [COMPOSER.event(event) for event in Script(zones=ZONES, fps=10, updates_s=1.0).play(paths, 9)]


def unfinished(events: list[TrackEvent]) -> dict[str, bytes]:
    """As the outbox has it."""
    open_: dict[str, bytes] = {}
    for event in events:
        if begun := begins(event) or renews(event):
            open_[begun] = event.model_dump_json().encode()
        if ended := ends(event):
            del open_[ended]
    return open_


def test_the_script_has_all_that_can_be_interrupted(events: list[TrackEvent]) -> None:
    told = {event.type for event in events}
    assert told >= {
        EventType.TRACK_STARTED,
        EventType.TRACK_UPDATED,
        EventType.ZONE_ENTERED,
        EventType.ZONE_STOPPED,
        EventType.ZONE_LOITERING,
    }
    assert not unfinished(events)


@given(st.data())
def test_wherever_it_is_cut_off_each_beginning_has_one_end_with_the_id_it_would_have_had(
    events: list[TrackEvent], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events)))
    before, after = events[:cut], events[cut:]
    told = endings(unfinished(before).items())
    assert not unfinished([*before, *told])
    ids = [event.event_id for event in told]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= {event.event_id for event in after}
    assert all(event.reason is EndReason.INTERRUPTED for event in told)


@given(st.data())
def test_a_track_ends_after_its_visits_and_where_it_was_last_known_to_be(
    events: list[TrackEvent], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events)))
    told = endings(unfinished(events[:cut]).items())
    for track in {event.track_uid for event in told}:
        own = [event for event in told if event.track_uid == track]
        assert [event.type for event in own].index(EventType.TRACK_ENDED) == len(own) - 1
        known = [event for event in events[:cut] if event.track_uid == track and (begins(event) or renews(event))]
        still = {begins(event) or renews(event) for event in known} & {event.event_id for event in own}
        latest = max(event.pts for event in known if (begins(event) or renews(event)) in still)
        assert {event.pts for event in own} == {latest}
        assert all(event.duration_s is None or event.duration_s >= 0 for event in own)


def test_zones_are_empty_in_the_end(events: list[TrackEvent]) -> None:
    cut = next(n for n, event in enumerate(events) if event.type is EventType.ZONE_STOPPED) + 1
    left = [event for event in endings(unfinished(events[:cut]).items()) if event.type is EventType.ZONE_LEFT]
    assert len(left) >= 2
    for zone in {event.zone for event in left}:
        counts = [event.count for event in left if event.zone == zone]
        assert counts == list(range(len(counts) - 1, -1, -1))


def test_the_message_says_so_and_nothing_that_nobody_knows(events: list[TrackEvent]) -> None:
    (track_ended,) = [
        event for event in endings(unfinished(events[:1]).items()) if event.type is EventType.TRACK_ENDED
    ]  # fmt: skip
    told = json.loads(track_ended.model_dump_json())
    assert told["reason"] == "interrupted"
    assert told["track_uid"] == events[0].track_uid
    assert not told.keys() & {"summary", "zone", "line", "duration_s", "count", "speed_mps", "heading"}
