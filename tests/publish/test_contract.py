"""What is published about the messages is what the code says, what it sends, and what older readers were promised."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from publish.contract import asyncapi, examples
from publish.contract.compatibility import broken_for_askers, broken_for_readers
from publish.contract.files import files
from publish.contract.schemas import REQUEST, bodies, documents
from publish.headers import schema_id
from publish.schema import EVENT, MESSAGES, SCHEMA_VERSION, CountEvent, FrameResult, TrackEvent
from publish.schema.base import Model
from publish.schema.control import ENDPOINTS
from publish.schema.wire import JSON
from publish.subjects import Subjects
from tests.publish.composed import count_event, frame_result, status, track_event
from tracking.events import CountType, EventType

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "messages"
RELEASED = sorted(path for path in (FOLDER / "released").iterdir() if path.is_dir())
PARSER = ROOT / ".tools"


def valid(name: str, value: Any) -> None:
    jsonschema_rs.validator_for(documents()[name], validate_formats=True).validate(value)


def test_the_files_are_those_that_the_code_makes() -> None:
    """After a change: `make schema`."""
    found = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*")
             if path.is_file() and path.relative_to(FOLDER).parts[0] != "released"}  # fmt: skip
    assert found.keys() == files().keys()
    for path, text in files().items():
        assert found[path] == text, f"{path} is not what the code makes: make schema"


# -- schemas


@pytest.mark.parametrize("name", documents())
def test_every_document_is_a_json_schema_of_its_own_name(name: str) -> None:
    schema = documents()[name]
    jsonschema_rs.meta.validate(schema)
    assert schema["$id"] == schema_id(name)


@pytest.mark.parametrize(("name", "body"), examples.bodies())
def test_every_example_is_valid(name: str, body: Any) -> None:
    valid(name, body)


def test_every_message_has_an_example() -> None:
    assert {name for name, _ in examples.bodies()} == bodies().keys()


@pytest.mark.parametrize(("name", "head"), examples.heads())
def test_every_examples_headers_are_valid(name: str, head: dict[str, str]) -> None:
    valid(f"{name}.headers", head)


def test_what_is_composed_is_valid() -> None:
    valid("frame", json.loads(frame_result().model_dump_json()))
    valid("status", json.loads(status().model_dump_json()))
    for kind in EventType:
        valid("event", json.loads(track_event(kind).model_dump_json()))
    for counted in CountType:
        valid("count", json.loads(count_event(counted).model_dump_json()))


@pytest.mark.parametrize(
    ("field", "value"),
    [("captured_at", "today"), ("box", [1, 2, 3]), ("type", "track.lost"), ("model", None), ("seq", "1")],
)
def test_what_is_not_as_it_should_be_is_not_valid(field: str, value: Any) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        valid("event", examples.plain(examples.EVENTS[0]) | {field: value})


@pytest.mark.parametrize("message", MESSAGES.values())
def test_every_message_names_the_models_name_hash_and_runtime(message: type[Any]) -> None:
    assert message.model_fields["model"].is_required()
    assert message.model_fields["model"].annotation is Model
    assert Model.model_fields.keys() >= {"name", "hash", "runtime"}


# -- compatibility


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.name)
def test_who_knows_a_released_schema_is_not_broken(released: Path) -> None:
    assert released.name.partition(".")[0] == SCHEMA_VERSION.partition(".")[0]
    present = documents()
    for file in sorted(released.glob("*.json")):
        name, old = file.name.removesuffix(".json"), json.loads(file.read_text())
        assert name in present, f"{name} of {released.name} is gone"
        compare = broken_for_askers if name.endswith(REQUEST) else broken_for_readers
        assert not compare(old, present[name]), f"{name} breaks who knows it as of {released.name}"


def test_a_released_version_stays_as_it_is() -> None:
    """What is added counts the version up."""
    frozen = FOLDER / "released" / SCHEMA_VERSION
    assert not frozen.exists() or {file.name.removesuffix(".json"): json.loads(file.read_text())
                                   for file in frozen.glob("*.json")} == documents()  # fmt: skip


def test_an_event_of_the_last_release_is_read() -> None:
    """JetStream keeps events: what a newer version reads may be older than it."""
    for event in (*examples.EVENTS, examples.COUNT):
        old = {**examples.plain(event), "schema_version": "1.2"}
        assert EVENT.validate_json(json.dumps(old)).schema_version == "1.2"


# -- AsyncAPI


def document() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
    return read


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*path, str(key)))
    elif isinstance(value, list):
        for row, inner in enumerate(value):
            yield from walk(inner, (*path, str(row)))


def resolved(whole: dict[str, Any], reference: str) -> Any:
    found: Any = whole
    for key in reference.removeprefix("#/").split("/"):
        found = found[key]
    return found


def test_every_reference_leads_somewhere_and_everything_is_referred_to() -> None:
    whole = document()
    references = {value["$ref"] for _, value in walk(whole) if isinstance(value, dict) and "$ref" in value}
    for reference in references:
        resolved(whole, reference)
    for kind, parts in whole["components"].items():
        assert {f"#/components/{kind}/{name}" for name in parts} <= references


def test_channels_are_the_subjects_with_their_parameters() -> None:
    channels = document()["channels"]
    subjects = Subjects("{prefix}")
    addresses = {channel["address"] for channel in channels.values()} - {None}
    assert addresses == {
        subjects.frames("{stream}"), subjects.event("{stream}", "{type}"), subjects.status("{stream}"),
        *(subjects.control(name) for name in ENDPOINTS),
    }  # fmt: skip
    for channel in channels.values():
        named = {key for key in ("prefix", "stream", "type") if f"{{{key}}}" in (channel["address"] or "")}
        assert named == channel.get("parameters", {}).keys()


def test_vigil_sends_messages_and_receives_requests_which_it_answers() -> None:
    whole = document()
    for operation in whole["operations"].values():
        channel = resolved(whole, operation["channel"]["$ref"])
        asked = ".control." in channel["address"]
        assert operation["action"] == ("receive" if asked else "send")
        if asked:
            reply = resolved(whole, operation["reply"]["channel"]["$ref"])
            assert {"controlRefusal"} < set(reply["messages"])


def test_the_documents_examples_are_valid_by_the_documents_own_schemas() -> None:
    """Which are written in draft 7, the dialect that AsyncAPI's tools know."""
    whole = document()
    shown = 0
    for name, message in whole["components"]["messages"].items():
        for example in message.get("examples", []):
            for part in example.keys() & {"payload", "headers"}:
                schema = {**whole, **message[part]}
                checker = jsonschema_rs.Draft7Validator(schema, validate_formats=True)
                assert checker.is_valid(example[part]), f"{name}: {list(checker.iter_errors(example[part]))}"
                shown += 1
    assert shown > len(MESSAGES) * 2


def test_no_tuple_is_written_in_words_that_draft_7_does_not_know() -> None:
    assert not [path for path, _ in walk(document()) if "prefixItems" in path or "$defs" in path]
    box = document()["components"]["schemas"]["ObjectSeen"]["properties"]["box"]
    assert (len(box["items"]), box["additionalItems"]) == (4, False)


def test_the_official_parser_takes_the_document() -> None:
    node = shutil.which("node")
    if node is None or not (PARSER / "node_modules" / "@asyncapi" / "parser").is_dir():
        pytest.skip("no AsyncAPI parser: it wants node and npm, and `make setup-e2e`")
    done = subprocess.run(
        [node, Path(__file__).parent / "parse_asyncapi.mjs", PARSER, FOLDER / "asyncapi.yaml"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    errors_and_warnings = [one for one in said["diagnostics"] if one["severity"] < 2]
    assert said["valid"] and not errors_and_warnings
    assert dict(said["operations"]) == {
        key: one["action"] for key, one in document()["operations"].items()
    }  # fmt: skip


def test_the_examples_are_read_by_the_models() -> None:
    frame = next(body for name, body in examples.bodies() if name == "frame")
    assert FrameResult.model_validate(frame) == examples.FRAME
    for event in examples.EVENTS:
        assert isinstance(EVENT.validate_python(examples.plain(event)), TrackEvent)
    assert isinstance(EVENT.validate_python(examples.plain(examples.COUNT)), CountEvent)
    assert asyncapi.document()["defaultContentType"] == JSON
