"""A newer schema that breaks somebody is found, whichever way it does; one that only adds is let through."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from publish.contract.compatibility import _Pair, broken_for_askers, broken_for_readers

TRACK: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"$ref": "#/$defs/Kind"},
        "id": {"type": "integer", "minimum": 0},
        "score": {"type": "number", "maximum": 1},
        "name": {"type": "string", "pattern": "^a", "maxLength": 9},
        "at": {"type": "string", "format": "date-time"},
        "zone": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "box": {"type": "array", "prefixItems": [{"type": "number"}] * 2, "minItems": 2, "maxItems": 2},
        "path": {"type": "array", "items": {"type": "integer"}, "maxItems": 8},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "version": {"const": "1.0"},
    },
    "required": ["type", "id", "box"],
    "$defs": {"Kind": {"type": "string", "enum": ["started", "ended"]}},
}

CHANGES = [
    # what is changed, in place of what, and for whom that breaks: readers of messages, askers
    ("a field is gone", "properties.score", None, True, True),
    ("a required field may be missing", "required", ["type", "id"], True, False),
    ("a field is required that was not", "required", ["type", "id", "box", "score"], True, True),
    ("a field is new", "properties.new", {"type": "string"}, False, False),
    ("a whole number is any number", "properties.id", {"type": "number", "minimum": 0}, True, False),
    ("a number is a whole one", "properties.score", {"type": "integer", "maximum": 1}, True, True),
    ("a string is a number", "properties.at", {"type": "number"}, True, True),
    ("a string is anything", "properties.at", {}, True, False),
    ("a value may be null", "properties.at", {"anyOf": [TRACK["properties"]["at"], {"type": "null"}]}, True, False),
    ("a value may no more be null", "properties.zone", {"type": "string"}, True, True),
    ("an enum has a new value", "$defs.Kind.enum", ["started", "ended", "moved"], False, False),
    ("an enum has lost a value", "$defs.Kind.enum", ["started"], True, True),
    ("an enum is any string", "$defs.Kind", {"type": "string"}, True, False),
    ("a constant is another", "properties.version.const", "2.0", True, True),
    ("a least value is higher", "properties.id.minimum", 1, True, True),
    ("a least value is lower", "properties.id.minimum", -1, True, False),
    ("a greatest value is gone", "properties.score", {"type": "number"}, True, False),
    ("a string may be longer", "properties.name.maxLength", 10, True, False),
    ("a pattern is another", "properties.name.pattern", "^b", True, True),
    ("a format is another", "properties.at.format", "date", True, True),
    ("a pair is a triple", "properties.box", {"type": "array", "prefixItems": [{"type": "number"}] * 3, "minItems": 3,
                                              "maxItems": 3}, True, True),
    ("a pair holds text", "properties.box.prefixItems", [{"type": "number"}, {"type": "string"}], True, True),
    ("a list holds text", "properties.path.items", {"type": "string"}, True, True),
    ("a list may be longer", "properties.path.maxItems", 9, True, False),
    ("free keys hold text", "properties.counts.additionalProperties", {"type": "string"}, True, True),
    ("other fields are refused", "additionalProperties", False, False, False),
    ("words for people are others", "properties.score.description", "How sure", False, False),
]  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    schema = copy.deepcopy(TRACK)
    *parents, last = path.split(".")
    place = schema
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return schema


@pytest.mark.parametrize(
    ("path", "value", "readers", "askers"), [row[1:] for row in CHANGES], ids=[r[0] for r in CHANGES]
)
def test_each_change_breaks_whom_it_breaks(path: str, value: Any, readers: bool, askers: bool) -> None:
    new = changed(path, value)
    assert bool(broken_for_readers(TRACK, new)) == readers
    assert bool(broken_for_askers(TRACK, new)) == askers


def test_what_is_broken_is_named_with_its_place_and_whom_it_breaks() -> None:
    (gone,) = broken_for_askers(TRACK, changed("properties.score", None))
    assert gone == "$.score: is unknown (older programs)"
    (added,) = broken_for_readers(TRACK, changed("required", ["type", "id", "box", "at"]))
    assert added == "$.at: may be missing, is required (messages that were kept)"


def test_a_request_whose_unknown_fields_are_refused_may_lose_none() -> None:
    closed = {**TRACK, "additionalProperties": False}
    without = {**changed("properties.score", None), "additionalProperties": False}
    assert broken_for_askers(closed, without)
    assert not broken_for_askers(without, closed)


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    """Schemas in the words that pydantic uses."""
    numbers = st.fixed_dictionaries(
        {"type": st.sampled_from(["integer", "number"])},
        optional={"minimum": st.integers(-3, 0), "maximum": st.integers(1, 4)},
    )
    leaves = st.one_of(
        numbers,
        st.sampled_from([{"type": "string"}, {"type": "boolean"}, {"type": "null"}, {}]),
        st.fixed_dictionaries({"enum": st.lists(st.sampled_from("abc"), min_size=1, unique=True)}),
    )
    return st.recursive(leaves, _larger, max_leaves=6)


def _larger(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    @st.composite
    def objects(draw: st.DrawFn) -> dict[str, Any]:
        properties = draw(st.dictionaries(st.sampled_from("pqr"), inner, min_size=1))
        required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True))
        closed = {"additionalProperties": False} if draw(st.booleans()) else {}
        return {"type": "object", "properties": properties, "required": required, **closed}

    lists = st.builds(lambda item, most: {"type": "array", "items": item, "maxItems": most}, inner, st.integers(0, 3))
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda items: {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    )
    maps = inner.map(lambda values: {"type": "object", "additionalProperties": values})
    either = st.lists(inner, min_size=2, max_size=3).map(lambda some: {"anyOf": some})
    return st.one_of(objects(), lists, tuples, maps, either)


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What may be written under a schema."""
    if "anyOf" in schema:
        return st.one_of(*map(values, schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    least, most = schema.get("minimum", -9), schema.get("maximum", 9)
    match schema.get("type"):
        case "integer":
            return st.integers(least, most)
        case "number":
            return st.floats(least, most)
        case "string":
            return st.sampled_from(["", "a", "z"])
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array" if "prefixItems" in schema:
            return st.tuples(*map(values, schema["prefixItems"])).map(list)
        case "array":
            return st.lists(values(schema["items"]), max_size=schema["maxItems"])
        case "object" if "properties" in schema:
            every = {name: values(one) for name, one in schema["properties"].items()}
            sure = {name: one for name, one in every.items() if name in schema["required"]}
            return st.fixed_dictionaries(sure, optional={n: one for n, one in every.items() if n not in sure})
        case "object":
            return st.dictionaries(st.sampled_from("xy"), values(schema["additionalProperties"]))
    return st.sampled_from([None, 1, 1.5, "a", [], {}])


@given(schemas())
def test_nothing_breaks_when_nothing_changes(schema: dict[str, Any]) -> None:
    assert broken_for_readers(schema, schema) == broken_for_askers(schema, schema) == []


@given(schemas(), st.data())
def test_what_is_let_through_is_read(writer: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is written under a schema is valid under one that the checker has nothing against."""
    reader = data.draw(st.one_of(schemas(), _near(writer)))
    assume(not _Pair(writer, reader, known=False, may_grow=False).refusals())
    value = data.draw(values(writer))
    assert jsonschema_rs.is_valid(reader, value), value


@st.composite
def _near(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with something taken out, or made possible, anywhere."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from([{}, {"anyOf": [schema, {"type": "null"}]}]))
    near = dict(schema)
    for word, value in schema.items():
        match draw(st.integers(0, 3)), value:
            case 0, _ if word not in ("prefixItems", "items", "maxItems", "required", "anyOf", "properties"):
                del near[word]
            case 1, dict() if word == "properties":
                near[word] = {name: draw(_near(one)) for name, one in value.items()}
            case 1, dict():
                near[word] = draw(_near(value))
            case 1, list() if word == "anyOf":
                near[word] = [draw(_near(one)) for one in value]
            case 1, list() if word == "required":
                near[word] = value[1:]
    return near


def test_the_sentences_are_for_people() -> None:
    told = broken_for_readers(TRACK, changed("properties.at", {"type": "number"}))
    assert told and all(re.fullmatch(r"\$\.at: is \w+, was to be \w+ \(.+\)", one) for one in told)
