"""Messages say what was seen, by whom and when, and are read back unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.detections import Detections
from inference.input import InputSpec
from inference.masks import Mask
from inference.model import ModelInfo
from ingest.clock import NS, Clock
from ingest.frame import Frame
from publish.schema import EVENT, MESSAGES, SCHEMA_VERSION, CountEvent, FrameResult, StreamStatus, TrackEvent
from publish.schema.composer import Composer, when
from tracking.events import (
    BestView,
    Change,
    Counted,
    CountReport,
    CountType,
    EndReason,
    Event,
    EventType,
    Identity,
    Motion,
    TrackSummary,
    TrackUpdate,
)  # fmt: skip
from tracking.tracks import Tracks
from vigil.subscribe import event_line

MODEL = ModelInfo(
    "toy", "0123456789abcdef", ("person", "car", "dog"), "yolo", InputSpec(), 640, "openvino", "cpu", "fp32"
)
COMPOSER = Composer("hq", MODEL, "cafe0123", 0.25)
CAPTURED_AT = 1_700_000_000 * NS + 123_456_789
FRAME = Frame(
    "gate", 7, 42, 3 * NS // 2, 5 * NS, CAPTURED_AT, Clock.RTCP, 1_234_567, av.VideoFrame(1920, 1080, "yuv420p")
)


def detections(count: int) -> Detections:
    """Row n is at x = 100 n, of score 0.9 - n / 10 and class n."""
    boxes = [[100.0 * n, 10.0, 100.0 * n + 50, 60.0] for n in range(count)]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([0.9 - n / 10 for n in range(count)], np.float32),
        np.arange(count, dtype=np.int32),
    )


def tracks(*rows: tuple[int, int]) -> Tracks:
    """By track id and detection row; the tracker's own boxes are at x = 1000 and of score 0.3."""
    return Tracks(
        np.array([track_id for track_id, _ in rows], np.int64),
        np.array([[1000, 500, 1100, 600]] * len(rows), np.float32).reshape(-1, 4),
        np.full(len(rows), 0.3, np.float32),
        np.zeros(len(rows), np.int32),
        np.array([row for _, row in rows], np.int32),
    )


def result(found: Detections, followed: Tracks) -> FrameResult:
    return COMPOSER.frame_result(FRAME, found, followed, now_ns=5 * NS + 12_345_678)


def event(kind: EventType = EventType.TRACK_ENDED, reason: EndReason | None = EndReason.LOST) -> Event:
    return Event(
        type=kind, stream="gate", session=7, seq=42, pts_ns=NS, captured_at=CAPTURED_AT, clock=Clock.ARRIVAL,
        uncertainty_ns=NS // 2, track_id=5, class_id=1, confidence=0.87654321, box=(1.23456, 2.0, 3.0, 4.0),
        frame_width=1920, frame_height=1080, started_at=CAPTURED_AT - NS, frames=11, reason=reason,
    )  # fmt: skip


def test_an_update_tells_what_changed_the_view_the_zones_and_who_it_is() -> None:
    best = BestView(40, 3 * NS // 2, CAPTURED_AT, (1.0, 2.0, 3.0, 4.0), 0.87654321)
    update = TrackUpdate((Change.BEST, Change.IDENTITY), best, ("drive",))
    happened = replace(
        event(EventType.TRACK_UPDATED, None), update=update, number=3, motion=Motion(1.5, 90.0, on_ground=True),
        identity=Identity("m1-7", 0.98765),
    )  # fmt: skip
    told = json.loads(COMPOSER.event(happened).model_dump_json())
    assert told["event_id"] == "hq-gate-7-5-track.updated-3"
    assert (told["changed"], told["zones"]) == (["best", "identity"], ["drive"])
    assert (told["best"]["seq"], told["best"]["pts"], told["best"]["confidence"]) == (40, 1.5, 0.8765)
    assert (told["global_id"], told["global_confidence"]) == ("m1-7", 0.9877)
    assert (told["speed_mps"], told["heading"]) == (1.5, 90.0)
    assert EVENT.validate_python(told) == COMPOSER.event(happened)


def test_other_events_and_objects_say_neither_what_changed_nor_who_it_is() -> None:
    absent = {"changed", "best", "zones", "global_id", "global_confidence"}
    assert not absent & json.loads(COMPOSER.event(event()).model_dump_json()).keys()
    (seen,) = json.loads(result(detections(1), tracks((5, 0))).model_dump_json())["objects"]
    assert not absent & seen.keys()


def test_objects_say_who_they_are_where_that_is_known() -> None:
    told = COMPOSER.frame_result(
        FRAME, detections(3), tracks((5, 1), (6, 0)), 5 * NS, identities={5: Identity("m1-7", 0.5)}
    )
    seen = {one["track_id"]: one for one in json.loads(told.model_dump_json())["objects"]}
    assert (seen[5]["global_id"], seen[5]["global_confidence"]) == ("m1-7", 0.5)
    assert "global_id" not in seen[6] and "global_id" not in seen[None]


def test_a_tracked_object_is_told_with_the_detectors_box() -> None:
    seen = result(detections(2), tracks((5, 1))).objects[0]
    assert (seen.track_id, seen.box) == (5, (100, 10, 150, 60))
    assert seen.confidence == pytest.approx(0.8)


def test_a_coasting_track_is_told_with_the_trackers_box() -> None:
    seen = result(Detections.empty(), tracks((5, -1))).objects[0]
    assert (seen.track_id, seen.box) == (5, (1000, 500, 1100, 600))
    assert seen.confidence == pytest.approx(0.3)


def test_a_box_of_no_track_is_told_without_an_id() -> None:
    objects = result(detections(3), tracks((5, 1))).objects
    assert [(seen.track_id, seen.box[0], seen.class_name) for seen in objects] == [
        (5, 100, "person"), (None, 0, "person"), (None, 200, "dog"),
    ]  # fmt: skip


@given(st.integers(0, 3), st.data())
def test_every_box_is_told_exactly_once(count: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, max(count - 1, 0)), unique=True, max_size=count))
    coasting = data.draw(st.integers(0, 2))
    followed = tracks(*((n + 1, row) for n, row in enumerate(rows)), *((n + 50, -1) for n in range(coasting)))
    objects = result(detections(count), followed).objects
    assert len(objects) == count + coasting
    assert sorted(seen.box[0] for seen in objects) == [*(100.0 * n for n in range(count)), *[1000.0] * coasting]
    assert sum(seen.track_id is None for seen in objects) == count - len(rows)


def test_nothing_seen_is_an_empty_list() -> None:
    assert result(Detections.empty(), Tracks.empty()).objects == []


def test_a_frame_result_says_where_when_and_by_whom() -> None:
    told = json.loads(result(detections(1), Tracks.empty()).model_dump_json())
    assert told["schema_version"] == SCHEMA_VERSION
    assert (told["site"], told["stream"], told["session"], told["seq"]) == ("hq", "gate", 7, 42)
    assert told["pts"] == 1.5
    assert told["latency_ms"] == 12.346
    assert told["frame"] == {"width": 1920, "height": 1080}
    assert told["model"] == {"name": "toy", "hash": "0123456789abcdef", "runtime": "openvino"}
    assert told["config_rev"] == "cafe0123"
    assert (told["clock"], told["uncertainty"]) == ("rtcp", 0.001235)
    assert datetime.fromisoformat(told["captured_at"]) == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


def detailed() -> Detections:
    """Three objects with a mask, keypoints and corners each; those of the last did not fit into an answer."""
    plain = detections(3)
    keypoints = np.arange(3 * 2 * 3, dtype=np.float32).reshape(3, 2, 3) / 10
    corners = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2) - np.float32(1.23456)
    keypoints[2] = corners[2] = np.nan
    masks = (Mask(1080, 1920, "a"), Mask(1080, 1920, "b"), None)
    return replace(plain, keypoints=keypoints, corners=corners, masks=masks)


def test_details_are_those_of_the_tracks_own_detection_and_absent_where_there_are_none() -> None:
    told = json.loads(result(detailed(), tracks((5, 1), (6, -1))).model_dump_json())["objects"]
    tracked, coasting, untracked, dropped = told
    assert tracked["track_id"] == 5
    assert tracked["mask"] == {"size": [1080, 1920], "counts": "b"}
    assert tracked["keypoints"] == [[0.6, 0.7, 0.8], [0.9, 1.0, 1.1]]
    assert tracked["corners"][0] == [6.77, 7.77]
    assert untracked["mask"]["counts"] == "a"
    for plain in (coasting, dropped):
        assert set(plain) == {"track_id", "class_id", "class_name", "confidence", "box"}


def test_a_plain_object_is_told_as_it_was_before_there_were_details() -> None:
    told = result(detections(1), Tracks.empty()).model_dump_json()
    assert told.endswith(
        '"objects":[{"track_id":null,"class_id":0,"class_name":"person","confidence":0.9,"box":[0.0,10.0,50.0,60.0]}]}'
    )


def test_a_detailed_result_is_read_back_unchanged() -> None:
    told = result(detailed(), tracks((5, 1), (6, -1)))
    assert told.objects[0].mask is not None
    assert FrameResult.model_validate_json(told.model_dump_json()) == told


def test_a_frame_result_is_read_back_unchanged() -> None:
    told = result(detections(3), tracks((5, 1), (6, -1)))
    assert FrameResult.model_validate_json(told.model_dump_json()) == told


@pytest.mark.parametrize(
    ("kind", "reason"), [(EventType.TRACK_STARTED, None), (EventType.TRACK_ENDED, EndReason.SESSION_ENDED)]
)
def test_an_event_is_read_back_unchanged(kind: EventType, reason: EndReason | None) -> None:
    told = COMPOSER.event(event(kind, reason))
    assert TrackEvent.model_validate_json(told.model_dump_json()) == told
    assert (told.type, told.reason) == (kind, reason)


def test_an_event_says_who_where_and_when() -> None:
    told = COMPOSER.event(event())
    assert (told.site, told.stream, told.track_id, told.track_uid) == ("hq", "gate", 5, "gate/7/5")
    assert told.event_id == f"hq-{event().event_id}"
    assert (told.class_id, told.class_name) == (1, "car")
    assert (told.confidence, told.box) == (0.8765, (1.23, 2, 3, 4))
    assert (told.captured_at - told.started_at).total_seconds() == 1
    assert (told.config_rev, told.model.hash) == ("cafe0123", MODEL.hash)
    assert told.frames == 11
    assert (told.clock, told.uncertainty) == ("arrival", 0.5)


SUMMARY = TrackSummary(
    BestView(40, NS // 2, CAPTURED_AT, (1.0, 2.0, 3.0, 4.0), 0.9), class_confidence=0.654321, duration_s=10 / 3,
    distance=12.34567, on_ground=True, path=((0.0, 1.26, 2.0), (1.5, 3.0, 4.0)), zones=("drive", "gate"),
)  # fmt: skip


def test_the_end_of_a_track_has_a_summary_and_nothing_else_has() -> None:
    told = COMPOSER.event(replace(event(), summary=SUMMARY))
    assert EVENT.validate_json(told.model_dump_json()) == told
    summary = json.loads(told.model_dump_json())["summary"]
    assert summary == {
        "best": {"seq": 40, "pts": 0.5, "captured_at": when(CAPTURED_AT).isoformat().replace("+00:00", "Z"),
                 "box": [1, 2, 3, 4], "confidence": 0.9},
        "class_confidence": 0.6543, "duration_s": 3.333, "distance_m": 12.346, "path": [[0, 1.3, 2], [1.5, 3, 4]],
        "zones": ["drive", "gate"],
    }  # fmt: skip
    in_heights = COMPOSER.event(replace(event(), summary=replace(SUMMARY, on_ground=False)))
    assert in_heights.summary is not None
    assert (in_heights.summary.distance_m, in_heights.summary.distance_heights) == (None, 12.346)
    assert "summary" not in json.loads(COMPOSER.event(event(EventType.TRACK_STARTED, None)).model_dump_json())


def test_an_event_at_a_place_says_how_fast_in_one_unit_only() -> None:
    crossed = replace(event(EventType.LINE_CROSSED, None), place="exit", direction="left")
    for motion, unit in ((Motion(1.23456, 359.99, True), "speed_mps"), (Motion(1.23456, None, False), "speed_heights")):
        told = json.loads(COMPOSER.event(replace(crossed, motion=motion)).model_dump_json())
        assert told[unit] == 1.235
        assert told.get("heading") == (0.0 if motion.heading else None)
        assert len({"speed_mps", "speed_heights"} & set(told)) == 1
    assert not {"speed_mps", "speed_heights", "heading"} & set(json.loads(COMPOSER.event(crossed).model_dump_json()))


def test_a_frame_result_says_how_fast_tracks_are_where_that_is_known() -> None:
    motions = [Motion(1.5, 90.0, True), None]
    told = COMPOSER.frame_result(FRAME, detections(3), tracks((5, 1), (6, -1)), 0, motions)
    assert [(seen.track_id, seen.speed_mps, seen.heading) for seen in told.objects] == [
        (5, 1.5, 90.0), (6, None, None), (None, None, None), (None, None, None)
    ]  # fmt: skip
    assert "speed_mps" not in json.loads(told.model_dump_json())["objects"][1]


REPORT = CountReport(
    CountType.LINE_COUNTED, "gate", 7, 42, NS, CAPTURED_AT, Clock.RTCP, None, "exit", 3, 60.04,
    (Counted("person", "left", 4, {60.0: 4, 900.0: 31}), Counted("car", "right", 0, {60.0: 0, 900.0: 2})),
)  # fmt: skip


def test_a_report_is_read_back_unchanged_and_known_from_a_tracks_event() -> None:
    told = COMPOSER.counted(REPORT)
    read = EVENT.validate_json(told.model_dump_json())
    assert isinstance(read, CountEvent)
    assert read == told
    assert isinstance(EVENT.validate_json(COMPOSER.event(event()).model_dump_json()), TrackEvent)
    assert (told.line, told.zone, told.event_id) == ("exit", None, "hq-gate-7-line.counted-exit-3")
    assert json.loads(told.model_dump_json())["counts"] == [
        {"class_name": "person", "direction": "left", "count": 4, "windows": {"60": 4, "900": 31}},
        {"class_name": "car", "direction": "right", "count": 0, "windows": {"60": 0, "900": 2}},
    ]
    zone = COMPOSER.counted(replace(REPORT, type=CountType.ZONE_COUNTED, counts=(Counted("person", None, 1, {}),)))
    assert (zone.zone, zone.line) == ("exit", None)
    assert json.loads(zone.model_dump_json())["counts"] == [{"class_name": "person", "count": 1, "windows": {}}]


@pytest.mark.parametrize("message", [COMPOSER.counted(REPORT), COMPOSER.event(event())])
def test_events_are_shown_to_people_in_a_line(message: TrackEvent | CountEvent) -> None:
    line = event_line(message)
    assert len(line) <= 80 and "\n" not in line
    assert message.type.value in line
    assert ("exit, 60 s" in line and "4 person left" in line) == isinstance(message, CountEvent)


def test_of_a_file_nobody_knows_how_true_its_times_are() -> None:
    told = COMPOSER.frame_result(replace(FRAME, uncertainty_ns=None), Detections.empty(), Tracks.empty(), 0)
    assert json.loads(told.model_dump_json())["uncertainty"] is None


def test_a_score_a_rounding_error_out_of_range_is_told_in_range() -> None:
    found = Detections(np.zeros((1, 4), np.float32), np.array([1.0000001], np.float32), np.zeros(1, np.int32))
    assert result(found, Tracks.empty()).objects[0].confidence == 1


def test_a_weak_box_is_reported_only_when_it_keeps_a_track_going() -> None:
    scores = np.array([0.2, 0.2], np.float32)
    found = Detections(np.zeros((2, 4), np.float32), scores, np.zeros(2, np.int32))
    tracks = Tracks(
        np.array([7]), np.zeros((1, 4), np.float32), scores[:1], np.zeros(1, np.int32), np.array([1], np.int32)
    )
    assert [seen.track_id for seen in result(found, tracks).objects] == [7]


@given(st.integers(0, 4_000_000_000 * NS))
def test_times_are_true_to_the_microsecond(ns: int) -> None:
    told = when(ns)
    since = told - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds
    assert abs(microseconds - ns // 1000) <= 1


def test_a_status_is_read_back_unchanged() -> None:
    told = COMPOSER.status("gate", "backoff", CAPTURED_AT, reason="auth", retry_in=30)
    assert (told.site, told.model.hash, told.reason) == ("hq", MODEL.hash, "auth")
    assert StreamStatus.model_validate_json(told.model_dump_json()) == told


def test_every_message_has_a_schema_that_names_its_version_and_revision() -> None:
    for message in MESSAGES.values():
        properties = message.model_json_schema(mode="serialization")["properties"]
        assert {"schema_version", "site", "stream", "config_rev"} <= set(properties)
