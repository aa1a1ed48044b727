"""The messages' JSON Schemas, one document each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import TypeAdapter

from publish.headers import headers_schema, schema_id
from publish.schema import MESSAGES
from publish.schema.control import ENDPOINTS, JPEG, Refusal

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REQUEST = ".request"
"""What the names of those end with that are sent to Vigil; all others are sent by it."""

Mode = Literal["validation", "serialization"]


def bodies() -> dict[str, tuple[Any, Mode]]:
    """Type and direction of every body, by the name of its schema."""
    control: dict[str, tuple[Any, Mode]] = {}
    for name, endpoint in ENDPOINTS.items():
        if endpoint.request is not None:
            control[f"control.{name}{REQUEST}"] = endpoint.request, "validation"
        if endpoint.answer != JPEG:
            control[f"control.{name}.answer"] = endpoint.answer, "serialization"
    return {
        **{name: (message, "serialization") for name, message in MESSAGES.items()},
        **control,
        "control.refusal": (Refusal, "serialization"),
    }


def documents() -> dict[str, dict[str, Any]]:
    """Every JSON Schema by its name: `frame` and the like for bodies, `frame.headers` for headers."""
    made = {name: TypeAdapter(kind).json_schema(mode=mode) for name, (kind, mode) in bodies().items()}
    made |= {f"{name}.headers": headers_schema(name) for name in MESSAGES}
    return {name: {"$schema": DIALECT, "$id": schema_id(name), **schema} for name, schema in sorted(made.items())}
