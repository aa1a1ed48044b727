"""Every track that starts ends exactly once."""

from __future__ import annotations

from collections import Counter

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.detections import Detections
from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.config import TrackerConfig
from tracking.events import EndReason, Event, EventType
from tracking.lifecycle import Lifecycle
from tracking.trackers.bytetrack import ByteTracker
from tracking.tracks import Tracks

IMAGE = av.VideoFrame(64, 48, "yuv420p")
EPOCH_NS = 1_700_000_000 * NS
MS = 1_000_000
LOST_AFTER_S = 0.5
NAMES = ("person", "car", "dog")
LOST_AFTER_NS = 500 * MS


def frame(seq: int, pts_ns: int, session: int = 7) -> Frame:
    return Frame("gate", session, seq, pts_ns, pts_ns, EPOCH_NS + pts_ns, Clock.RTCP, seq, IMAGE)


def tracks(*ids: int, score: float = 0.5, class_id: int = 0, x: float = 0.0) -> Tracks:
    count = len(ids)
    return Tracks(
        np.array(ids, np.int64),
        np.array([[x, one, x + 10, one + 10] for one in ids], np.float32).reshape(-1, 4),
        np.full(count, score, np.float32),
        np.full(count, class_id, np.int32),
        np.arange(count, dtype=np.int32),
    )


def lifecycle() -> Lifecycle:
    return Lifecycle("gate", 7, LOST_AFTER_S, NAMES, {}, {})


def told(events: list[Event]) -> list[tuple[str, int, EndReason | None]]:
    return [(event.type.value, event.track_id, event.reason) for event in events]


steps = st.lists(st.tuples(st.integers(1, 900), st.sets(st.integers(1, 5))), max_size=40)


@given(steps)
def test_every_start_has_exactly_one_end(sequence: list[tuple[int, set[int]]]) -> None:
    followed = lifecycle()
    alive: dict[int, int] = {}  # id -> last seen at
    pts_ns = 0
    starts: Counter[int] = Counter()
    ends: Counter[int] = Counter()
    for seq, (step_ms, ids) in enumerate(sequence):
        pts_ns += step_ms * MS
        events = followed.update(frame(seq, pts_ns), tracks(*sorted(ids)))
        for event in events:
            if event.type is EventType.TRACK_STARTED:
                assert event.track_id in ids
                assert event.track_id not in alive
                alive[event.track_id] = pts_ns
                starts[event.track_id] += 1
            else:
                assert event.reason is EndReason.LOST
                assert pts_ns - alive.pop(event.track_id) > LOST_AFTER_NS
                ends[event.track_id] += 1
        alive.update(dict.fromkeys(ids, pts_ns))
        assert all(pts_ns - last <= LOST_AFTER_NS for last in alive.values())
        assert len(followed) == len(alive)
    final = followed.finish()
    assert {event.track_id for event in final} == set(alive)
    assert all(event.reason is EndReason.SESSION_ENDED for event in final)
    ends.update(event.track_id for event in final)
    assert starts == ends
    assert followed.finish() == []
    assert len(followed) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 800), st.sets(st.integers(0, 2))), max_size=40))
def test_no_two_events_of_a_session_share_an_id(sequence: list[tuple[int, set[int]]]) -> None:
    """With the real tracker before it: consumers deduplicate by the event's id."""
    tracker, followed = ByteTracker(TrackerConfig(lost_after=LOST_AFTER_S), 10.0), lifecycle()
    events: list[Event] = []
    pts_ns = 0
    for seq, (step_ms, places) in enumerate(sequence):
        pts_ns += step_ms * MS
        boxes = np.array([[200 * p, 10, 200 * p + 60, 70] for p in sorted(places)], np.float32).reshape(-1, 4)
        found = Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.zeros(len(boxes), np.int32))
        events += followed.update(frame(seq, pts_ns), tracker.update(found, frame(seq, pts_ns)))
    events += followed.finish()
    ids = [event.event_id for event in events]
    assert len(set(ids)) == len(ids)
    started = {event.track_id for event in events if event.type is EventType.TRACK_STARTED}
    ended = {event.track_id for event in events if event.type is EventType.TRACK_ENDED}
    assert started == ended
    assert len(ids) == 2 * len(started)


@pytest.mark.parametrize(("away_ns", "ends"), [(LOST_AFTER_NS, []), (LOST_AFTER_NS + 1, [1])])
def test_a_track_unseen_for_exactly_the_limit_has_not_ended(away_ns: int, ends: list[int]) -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), tracks(1))
    assert [event.track_id for event in followed.update(frame(1, away_ns), tracks())] == ends


def test_a_track_seen_again_in_the_frame_that_would_end_it_goes_on() -> None:
    followed = lifecycle()
    followed.update(frame(0, 0), tracks(1))
    assert followed.update(frame(1, 10 * LOST_AFTER_NS), tracks(1)) == []


def test_starts_and_ends_say_where_and_when() -> None:
    followed = lifecycle()
    start = followed.update(frame(3, 0), tracks(4, score=0.5, class_id=2))[0]
    followed.update(frame(4, 40 * MS), tracks(4, score=0.75, class_id=1, x=20))
    followed.update(frame(5, 80 * MS), tracks(4, score=0.25, class_id=1, x=40))
    end = followed.update(frame(90, NS), tracks())[0]
    assert told([start, end]) == [("track.started", 4, None), ("track.ended", 4, EndReason.LOST)]
    assert (start.seq, start.captured_at, start.frames, start.box) == (3, EPOCH_NS, 1, (0, 4, 10, 14))
    assert (start.class_id, start.confidence) == (2, 0.5)
    assert (end.seq, end.pts_ns, end.captured_at) == (5, 80 * MS, EPOCH_NS + 80 * MS)
    assert (end.clock, end.uncertainty_ns) == (Clock.RTCP, 5), "of the frame it was last seen in"
    assert (end.frames, end.confidence, end.class_id, end.box) == (3, 0.75, 1, (40, 4, 50, 14))
    assert start.started_at == end.started_at == EPOCH_NS
    assert (end.frame_width, end.frame_height) == (64, 48)


def test_a_tracks_name_is_stream_session_and_id() -> None:
    event = lifecycle().update(frame(0, 0), tracks(9))[0]
    assert event.track_uid == "gate/7/9"


def test_sessions_and_streams_do_not_share_event_ids() -> None:
    ids = {
        Lifecycle(stream, session, 1.0, NAMES, {}, {}).update(frame(0, 0), tracks(1))[0].event_id
        for stream, session in (("a", 1), ("a", 11), ("a-1", 1), ("a-1-1", 1), ("b", 1))
    }
    assert len(ids) == 5


def test_the_start_and_the_end_of_a_track_have_different_ids() -> None:
    followed = lifecycle()
    start = followed.update(frame(0, 0), tracks(1))[0]
    assert start.event_id != followed.finish()[0].event_id
