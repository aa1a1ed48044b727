"""Bodies are the same values in JSON and in MessagePack, and what cannot be read is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from publish.schema import FrameResult, Message
from publish.schema.wire import JSON, MSGPACK, UnreadableError, decode, encode, read
from tests.publish.composed import count_event, frame_result, status, track_event


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
@pytest.mark.parametrize("message", [frame_result(), frame_result(objects=0), track_event(), count_event(), status()])
def test_a_message_is_read_back_as_it_was_written(message: Message, content_type: str) -> None:
    assert read(type(message), content_type, encode(message, content_type)) == message


def test_both_forms_hold_the_same_fields_and_values() -> None:
    told = frame_result()
    assert (
        decode(MSGPACK, encode(told, MSGPACK)) == decode(JSON, encode(told, JSON)) == json.loads(told.model_dump_json())
    )


def test_without_a_content_type_a_body_is_json_as_it_was_before_there_were_others() -> None:
    assert read(FrameResult, None, encode(frame_result(), JSON)) == frame_result()


@pytest.mark.parametrize(
    ("content_type", "data", "words"),
    [
        (JSON, b"{", "application/json"),
        (JSON, b"[" * 100_000, "application/json"),
        (MSGPACK, b"\xc1", "application/msgpack"),
        ("text/xml", b"<a/>", "'text/xml' is none of"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_content_type(content_type: str, data: bytes, words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        decode(content_type, data)


@given(st.sampled_from([None, JSON, MSGPACK]), st.binary(max_size=64))
def test_any_bytes_are_a_message_or_one_error(content_type: str | None, data: bytes) -> None:
    for reading in (decode, lambda kind, body: read(FrameResult, kind, body)):
        try:
            reading(content_type, data)
        except UnreadableError as error:
            assert error.code == "message.unreadable"


def test_fields_of_a_newer_minor_version_are_passed_over() -> None:
    newer: dict[str, Any] = json.loads(encode(frame_result(), JSON)) | {"schema_version": "1.99", "new": [1]}
    told = read(FrameResult, JSON, json.dumps(newer).encode())
    assert (told.schema_version, told.objects) == ("1.99", frame_result().objects)
