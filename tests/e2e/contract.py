"""Whether what the service sends is what `docs/messages` promises: the committed schemas, for bodies and headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "messages" / "schemas"


@cache
def _validator(name: str) -> Any:
    return jsonschema_rs.validator_for(json.loads((SCHEMAS / f"{name}.json").read_text()), validate_formats=True)


def wrong(name: str, value: Any) -> list[str]:
    """What is wrong with a body or, as `<message>.headers`, with headers."""
    validator = _validator(name)
    if validator.is_valid(value):
        return []
    told = validator.iter_errors(value)
    return [f"{name} {'.'.join(map(str, error.instance_path))}: {error.message}" for error in told]


def wrong_with_message(subject_kind: str, headers: Mapping[str, str], body: Any) -> list[str]:
    """As `wrong`, of a message on `<prefix>.<subject_kind>.…`; KeyError: there are no such messages."""
    of_events = "count" if "counts" in body else "event"
    name = {"frames": "frame", "events": of_events, "status": "status"}[subject_kind]
    of_body = body.get("at" if name == "status" else "captured_at")
    told = wrong(name, body) + wrong(f"{name}.headers", dict(headers))
    if headers.get("ce-time") != of_body:
        told.append(f"{name}: ce-time {headers.get('ce-time')} is not the body's {of_body}")
    if headers.get("ce-source") != f"/vigil/{body['site']}/{body['stream']}":
        told.append(f"{name}: ce-source {headers.get('ce-source')}")
    return told
