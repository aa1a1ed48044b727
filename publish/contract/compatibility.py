"""What a newer schema breaks for those who hold to an older one. Pure: JSON Schemas in, sentences out.

Messages that Vigil sends are read by programs made for older schemas, and those that JetStream kept were written under
older ones: so neither may the present one say what the old one did not allow, nor may it ask for more than the old one
gave. Fields may be added, and values to enums, as readers are told to pass over what they do not know. Requests are
written by old programs only: all that was a good request must still be one.

It knows the words that pydantic's schemas use; whatever else differs is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

# By word: whether more of it accepts less.
BOUNDS = {
    "minimum": True, "exclusiveMinimum": True, "minLength": True, "minItems": True,
    "maximum": False, "exclusiveMaximum": False, "maxLength": False, "maxItems": False,
}  # fmt: skip
EXACT = ("pattern", "format", "const")


def broken_for_readers(old: Schema, new: Schema) -> list[str]:
    """What is wrong with `new` in place of `old` for a message that Vigil sends."""
    history = _Pair(old, new, known=True, may_grow=False).refusals()
    readers = _Pair(new, old, known=False, may_grow=True).refusals()
    return [f"{told} (messages that were kept)" for told in history] + [f"{told} (older readers)" for told in readers]


def broken_for_askers(old: Schema, new: Schema) -> list[str]:
    """What is wrong with `new` in place of `old` for a request that Vigil is sent."""
    return [f"{told} (older programs)" for told in _Pair(old, new, known=True, may_grow=False).refusals()]


@dataclass(frozen=True, slots=True)
class _Pair:
    """One schema by which values are written, and one by which they are read.

    Attributes:
        known: every field that is written is to be known to the reader.
        may_grow: the reader takes enum values that are new to it.
    """

    writer: Schema
    reader: Schema
    known: bool
    may_grow: bool

    def refusals(self) -> list[str]:
        """Where the reader may refuse or miss what was written."""
        return self._compare(self.writer, self.reader, "$")

    def _compare(self, writer: Schema, reader: Schema, at: str) -> list[str]:
        """Each alternative of the writer is to suit one of the reader's."""
        told: list[str] = []
        for one in _alternatives(writer, self.writer):
            fits = [self._compare_one(one, other, at) for other in _alternatives(reader, self.reader)]
            closest = min(fits, key=len)
            told += closest
        return told

    def _compare_one(self, writer: Schema, reader: Schema, at: str) -> list[str]:
        if not _type_fits(writer.get("type"), reader.get("type")):
            return [f"{at}: is {writer.get('type', 'anything')}, was to be {reader['type']}"]
        return [
            *self._values(writer, reader, at),
            *_bounds(writer, reader, at),
            *self._fields(writer, reader, at),
            *self._items(writer, reader, at),
        ]

    def _values(self, writer: Schema, reader: Schema, at: str) -> list[str]:
        told = [
            f"{at}: {word} is {writer.get(word)!r}, was to be {reader[word]!r}"
            for word in EXACT
            if word in reader and writer.get(word) != reader[word]
        ]
        if "enum" not in reader:
            return told
        values = writer.get("enum", [writer["const"]] if "const" in writer else None)
        if values is None:
            return [*told, f"{at}: is any value, was to be one of {reader['enum']}"]
        strange = [value for value in values if value not in reader["enum"]]
        return told if self.may_grow else [*told, *(f"{at}: {value!r} is no value any more" for value in strange)]

    def _fields(self, writer: Schema, reader: Schema, at: str) -> list[str]:
        written, read = writer.get("properties", {}), reader.get("properties", {})
        more, taken = writer.get("additionalProperties", True), reader.get("additionalProperties", True)
        sure = writer.get("required", [])
        told = [f"{at}.{name}: may be missing, is required" for name in reader.get("required", []) if name not in sure]
        for name, one in written.items():
            if name in read:
                told += self._compare(one, read[name], f"{at}.{name}")
            elif self.known or taken is False:
                told.append(f"{at}.{name}: is unknown")
            elif isinstance(taken, Mapping):
                told += self._compare(one, taken, f"{at}.{name}")
        if isinstance(more, Mapping):
            for name in read.keys() - written.keys():
                told += self._compare(more, read[name], f"{at}.{name}")
        return told + self._others(writer, more, taken, at)

    def _others(self, writer: Schema, more: Schema | bool, taken: Schema | bool, at: str) -> list[str]:
        """Of objects whose keys are free; that of any other may have more fields than it names is no promise."""
        if (
            writer.get("type") != "object"
            or more is False
            or taken is True
            or (more is True and "properties" in writer)
        ):
            return []
        if not isinstance(taken, Mapping):
            return [f"{at}: has any keys, was to have its own"]
        return self._compare(more if isinstance(more, Mapping) else {}, taken, f"{at}.*")

    def _items(self, writer: Schema, reader: Schema, at: str) -> list[str]:
        written, read = writer.get("prefixItems", []), reader.get("prefixItems", [])
        told = []
        for row in range(max(len(written), len(read))):
            one = written[row] if row < len(written) else writer.get("items", {})
            other = read[row] if row < len(read) else reader.get("items", {})
            told += self._compare(one, other, f"{at}[{row}]")
        if "items" in reader and ("items" in writer or not written):
            told += self._compare(writer.get("items", {}), reader["items"], f"{at}[]")
        return told


def _bounds(writer: Schema, reader: Schema, at: str) -> list[str]:
    told = []
    for word, is_least in BOUNDS.items():
        if word not in reader:
            continue
        ours, limit = writer.get(word), reader[word]
        if ours is None or (ours < limit if is_least else ours > limit):
            told.append(f"{at}: {word} is {'not set' if ours is None else ours}, was to be {limit}")
    return told


def _type_fits(written: str | None, read: str | None) -> bool:
    return read is None or written == read or (written == "integer" and read == "number")


def _alternatives(schema: Schema, root: Schema) -> list[Schema]:
    """A schema's alternatives, none of which refers to another place."""
    if "$ref" in schema:
        rest = {word: value for word, value in schema.items() if word != "$ref"}
        return _alternatives({**root["$defs"][schema["$ref"].rpartition("/")[2]], **rest}, root)
    if "anyOf" in schema:
        return [found for one in schema["anyOf"] for found in _alternatives(one, root)]
    return [schema]
