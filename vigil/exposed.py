"""A config's text as it may be shown: credentials taken out, comments and references to variables and files left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, get_args

import yaml
from pydantic import BaseModel, SecretStr

from ingest.redact import is_redacted, redact
from vigil.config import VigilConfig
from vigil.document import MOST_NODES, Place, dotted, is_secret

HIDDEN = "***"
REFERENCE = re.compile(r"\$\{[^}]*\}")
# Stand in for references, which hold what redacting would take for the end of a user or a password.
_MARK = "\ue000"
_ONLY_MARKS = re.compile(rf"(?P<before>://[^\s/:@]*:|[?&][\w-]+=){_MARK}+(?P<after>@|(?=[&\s\"']|$))", re.MULTILINE)
_HELD = "\ue001"


def exposed(text: str) -> str | None:
    """The text with every credential that is written in it replaced; None: it is no YAML, and nobody knows what is."""
    try:
        found = _scalars(yaml.compose(text, Loader=yaml.SafeLoader), ())
        scalars = list(islice(found, MOST_NODES))
    except yaml.YAMLError:
        return None
    if next(found, None) is not None:
        return None
    shown, at = "", 0
    for node, path in sorted(scalars, key=lambda found: found[0].start_mark.index):
        start, end = node.start_mark.index, node.end_mark.index
        value = _hidden(node.value, path)
        if start < at or value == node.value:
            continue
        # What is between may be a comment with an old address in it.
        is_block = node.style in ("|", ">")
        value = yaml.safe_dump(value.rstrip("\n") if is_block else value, default_style='"', width=1 << 20).rstrip("\n")
        shown += _without(text[at:start]) + value + ("\n" if is_block else "")
        at = end
    return shown + _without(text[at:])


def redacted_places(text: str) -> list[str]:
    """Where a text, which was shown so and comes back, has no secret but what stood for it."""
    try:
        return [
            dotted(path) for node, path in islice(_scalars(yaml.compose(text, Loader=yaml.SafeLoader), ()), MOST_NODES)
            if is_redacted(node.value)
        ]  # fmt: skip
    except yaml.YAMLError:
        return []  # that is told by whoever reads it


def references(text: str) -> set[str]:
    """Every `${…}` in a text."""
    return set(REFERENCE.findall(text))


def _scalars(node: yaml.Node | None, path: Place, seen: frozenset[int] = frozenset()) -> Iterator[tuple[Any, Place]]:
    if node is None or id(node) in seen:
        return
    if isinstance(node, yaml.ScalarNode):
        yield node, path
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _scalars(item, (*path, index), seen | {id(node)})
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, (*path, str(key.value)), seen | {id(node)})


def _hidden(value: str, path: Place) -> str:
    if is_secret(path) or (path and path[-1] in secret_names()):
        return value if not REFERENCE.sub("", value) else HIDDEN
    return _without(value)


def _without(text: str) -> str:
    """Redacted, but for secrets that are nothing but references."""
    found = REFERENCE.findall(text)
    marked = _ONLY_MARKS.sub(
        lambda match: match[0].replace("://", _HELD) if "://" in match[0] else match[0].replace("=", _HELD),
        REFERENCE.sub(_MARK, text),
    )
    hidden = redact(marked)
    hidden = re.sub(rf"{_HELD}(?=[^\s/:@]*:{_MARK}+@)", "://", hidden).replace(_HELD, "=")
    if hidden.count(_MARK) != len(found):
        return redact(text)  # a reference was in what is hidden
    parts = hidden.split(_MARK)
    return parts[0] + "".join(reference + part for reference, part in zip(found, parts[1:], strict=True))


@cache
def secret_names() -> frozenset[str]:
    """The names of settings that are secrets wherever they are."""
    found = list(_settings(VigilConfig, set()))
    return frozenset(name for name, secret in found if secret) - {name for name, secret in found if not secret}


def _settings(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, bool]]:
    """Every setting's name, and whether it is a secret."""
    if model in seen:
        return
    seen.add(model)
    for name, field in model.model_fields.items():
        kinds = list(_kinds(field.annotation))
        yield name, SecretStr in kinds
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _settings(kind, seen)


def _kinds(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _kinds(argument)
