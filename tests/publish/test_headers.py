"""Headers say what a message is before its body is read, and tie a frame's result to the events of that frame."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg

from publish import headers
from publish.schema import CountEvent, StreamStatus, TrackEvent
from publish.schema.wire import JSON, MSGPACK
from tests.publish.composed import AT_NS, count_event, frame_result, status, track_event
from tracking.events import CountType, EventType
from vigil.nats_server import NatsServer

SPAN = r"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-00"


def of_durable(message: TrackEvent | CountEvent | StreamStatus) -> dict[str, str]:
    return headers.of_status(message) if isinstance(message, StreamStatus) else headers.of_event(message)


@pytest.mark.parametrize("message", [track_event(), count_event(), status()])
def test_durable_messages_have_what_cloudevents_wants_and_an_id_for_jetstream(
    message: TrackEvent | CountEvent | StreamStatus,
) -> None:
    told = of_durable(message)
    assert told["ce-specversion"] == "1.0"
    assert told["ce-source"] == "/vigil/hq/gate"
    assert told["content-type"] == JSON
    assert told["Nats-Msg-Id"] == told["ce-id"]
    assert datetime.fromisoformat(told["ce-time"]) == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)


def test_an_events_headers_name_the_event_and_what_it_is_about() -> None:
    ended, counted = headers.of_event(track_event()), headers.of_event(count_event())
    assert (ended["ce-id"], counted["ce-id"]) == (track_event().event_id, count_event().event_id)
    assert (ended["ce-type"], counted["ce-type"]) == ("vigil.track.ended", "vigil.line.counted")
    assert (ended["ce-subject"], counted["ce-subject"]) == ("gate/7/5", "gate/line/exit")
    assert headers.of_event(count_event(CountType.ZONE_COUNTED))["ce-subject"] == "gate/zone/exit"
    assert (ended["ce-dataschema"], counted["ce-dataschema"]) == (
        "urn:vigil:messages:1:event",
        "urn:vigil:messages:1:count",
    )


def test_states_told_at_another_time_or_of_another_kind_are_not_taken_for_repeats() -> None:
    told = [status(), status(at_ns=AT_NS + 1000), status("live")]
    assert len({headers.of_status(one)["Nats-Msg-Id"] for one in told}) == 3
    assert headers.of_status(status()) == headers.of_status(status())


def test_a_frame_and_its_events_are_of_one_trace_and_every_other_frame_of_another() -> None:
    of = headers.traceparent
    assert headers.of_event(track_event())["traceparent"] == headers.of_event(count_event())["traceparent"]
    assert headers.of_event(track_event())["traceparent"] == of("hq", "gate", 7, 42)
    assert of("hq", "gate", 7, 42) in headers.of_frame(frame_result(42), JSON)["ce-specversion"]
    others = [of("hq", "gate", 7, 43), of("hq", "gate", 8, 42), of("hq", "yard", 7, 42), of("lab", "gate", 7, 42)]
    found = [re.fullmatch(SPAN, one) for one in (of("hq", "gate", 7, 42), *others)]
    assert all(found)
    assert len({one["trace"] for one in found if one}) == len(found)


def test_a_trace_is_what_the_documentation_says() -> None:
    """Others compute it too: it must never change within version 1."""
    assert (
        headers.traceparent("hq", "gate", 1795230433127, 412)
        == "00-f05b0344d747c421918e512cca4b09f8-8e477819efe1ca37-00"
    )


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
def test_a_frame_results_headers_arrive_one_by_one(tmp_path: Path, content_type: str) -> None:
    """They are given to nats-py as one, written out."""
    results = [frame_result(42), frame_result(43, objects=0)]

    async def play() -> list[Msg]:
        server = NatsServer(tmp_path, 0)
        await server.start()
        try:
            client = await nats.connect(server.url)
            subscription = await client.subscribe("frames")
            for result in results:
                await client.publish("frames", b"body", headers=headers.of_frame(result, content_type))
            received = [await subscription.next_msg(5) for _ in results]
            await client.close()
        finally:
            await server.stop()
        return received

    for message, result in zip(asyncio.run(play()), results, strict=True):
        assert message.data == b"body"
        assert message.headers == {
            "ce-specversion": "1.0",
            "ce-type": "vigil.frame",
            "ce-source": "/vigil/hq/gate",
            "ce-subject": "gate",
            "ce-dataschema": "urn:vigil:messages:1:frame",
            "content-type": content_type,
            "ce-id": f"hq-gate-7-{result.seq}",
            "ce-time": "2023-11-14T22:13:20.123456Z",
            "traceparent": headers.traceparent("hq", "gate", 7, result.seq),
        }


@pytest.mark.parametrize("kind", EventType)
def test_every_event_type_is_a_cloudevents_type(kind: EventType) -> None:
    assert headers.of_event(track_event(kind))["ce-type"] == f"vigil.{kind.value}"
