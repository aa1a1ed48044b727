"""What docs/messages.md shows of messages is what they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from publish.contract.schemas import documents
from publish.headers import headers_schema, traceparent
from publish.schema import MESSAGES, SCHEMA_VERSION

DOC = (Path(__file__).resolve().parents[2] / "docs" / "messages.md").read_text()
JSON_BLOCKS = re.findall(r"```json\n(.*?)```", DOC, re.DOTALL)


@pytest.mark.parametrize(("name", "text"), zip(["count", "status"], JSON_BLOCKS, strict=True))
def test_the_bodies_shown_are_valid(name: str, text: str) -> None:
    jsonschema_rs.validate(documents()[name], json.loads(text))


def test_the_answer_shown_is_valid() -> None:
    answer = DOC.split('control.streams.show \'{"id": "gate"}\'\n')[1].split("```")[0]
    jsonschema_rs.validate(documents()["control.streams.show.answer"], json.loads(answer))


def test_the_trace_is_computed_as_shown() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    shown: dict[str, Any] = {}
    exec(code, shown)
    told = traceparent("hq", "gate", 1795230433127, 412)
    assert shown["traceparent"]("hq", "gate", 1795230433127, 412) == told
    assert told in DOC


def test_every_header_is_in_the_table() -> None:
    named = set(re.findall(r"^\| `([\w-]+)` \|", DOC, re.MULTILINE))
    assert {header for name in MESSAGES for header in headers_schema(name)["properties"]} <= named


def test_the_present_version_is_in_the_list() -> None:
    assert f"| {SCHEMA_VERSION} |" in DOC
