"""A YAML text as plain values, with the line of each, its variables filled in, and every problem met on the way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ingest.errors import VigilError
from ingest.redact import redact

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a config: where, what was there, why it is wrong and how to mend it."""

    code: str
    path: str
    line: int | None
    value: str | None
    message: str
    mend: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        what = f" (got {self.value})" if self.value is not None else ""
        mend = f"\n    → {self.mend}" if self.mend else ""
        return f"{where}{self.path or 'file'}: {self.message}{what} [{self.code}]{mend}"


class ConfigError(VigilError):
    """The configuration cannot be used; `problems` holds everything that is wrong with it."""

    code = "config.invalid"

    def __init__(self, file: str, problems: list[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{file}: {count}\n" + "\n".join(f"  {problem}" for problem in problems))
        self.file = file
        self.problems = problems


# Ten lines of aliases of aliases can stand for billions of values.
MOST_NODES = 100_000

_SUBSTITUTION = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


class Document:
    """A YAML text: its plain values, the line of each, and the problems met on the way."""

    def __init__(self, text: str, name: str, folder: Path) -> None:
        """Relative paths of `${file:…}` start at `folder`.

        Raises:
            ConfigError: the text is not YAML at all.
        """
        self._folder = folder
        self.problems: list[Problem] = []
        self._lines: dict[Place, int | None] = {}
        self._raw: dict[Place, Any] = {}
        self._nodes = 0
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            words = getattr(error, "problem", None) or str(error)
            problem = Problem("config.syntax", "", mark.line + 1 if mark else None, None, f"not valid YAML: {words}")
            raise ConfigError(name, [problem]) from None
        self._values = self._read(node, (), ()) if node is not None else {}

    def _read(self, node: yaml.Node, path: Place, above: tuple[yaml.Node, ...]) -> Any:
        """The node's values; `above` are the nodes it lies in, as an alias may point back to one of them."""
        self._lines[path] = node.start_mark.line + 1
        self._nodes += 1
        if self._nodes > MOST_NODES:
            if self._nodes == MOST_NODES + 1:
                self._add("config.syntax", (), None, f"its aliases (*name) make more than {MOST_NODES} values of it")
            return None
        if any(node is other for other in above):
            self._add("config.syntax", path, None, "contains itself")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path, above)
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, (*path, index), (*above, node)) for index, item in enumerate(node.value)]
        self._raw[path] = value = self._scalar(node, path)
        return value

    def _read_mapping(self, node: yaml.MappingNode, path: Place, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        own = [str(key.value) for key, _ in node.value]
        for key_node, _ in node.value:
            if own.count(str(key_node.value)) > 1:
                own.remove(str(key_node.value))
                line = [key for key, _ in node.value if key.value == key_node.value][-1].start_mark.line + 1
                self.problems.append(Problem(
                    "config.duplicate", dotted((*path, str(key_node.value))), line, None, "is given twice",
                    "keep one of the two",
                ))  # fmt: skip
        try:
            yaml.SafeLoader("").flatten_mapping(node)  # `<<: *other`: merged keys come first, so the own ones win
        except yaml.YAMLError as error:
            self._add("config.syntax", path, None, f"not valid YAML: {getattr(error, 'problem', None) or error}")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(self._scalar(key_node, path))
            result[key] = self._read(value_node, (*path, key), (*above, node))
            self._lines[(*path, key)] = key_node.start_mark.line + 1
        return result

    def _scalar(self, node: yaml.Node, path: Place) -> Any:
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            words = getattr(error, "problem", None) or str(error)
            self.problems.append(Problem("config.syntax", dotted(path), node.start_mark.line + 1, None,
                                         f"not valid YAML: {words}"))  # fmt: skip
            return None

    def replace(self, key: str, entries: Mapping[str, Any]) -> None:
        """Puts other entries into a top-level mapping, or takes them out where they are null; they have no lines."""
        if not isinstance(self._values, dict) or not isinstance(self._values.setdefault(key, {}), dict):
            return
        for name, entry in entries.items():
            path: Place = (key, name)
            for known in [one for one in self._lines if one[:2] == path]:
                self._lines[known] = None
                self._raw.pop(known, None)
            self._values[key].pop(name, None)
            if entry is not None:
                self._values[key][name] = entry
                self._note(path, entry)

    def _note(self, path: Place, value: Any) -> None:
        """Remembers values that are not of the text."""
        self._lines[path] = None
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._note((*path, key), item)
        elif not isinstance(value, list):
            self._raw[path] = value

    def filled(self) -> Any:
        """The values with `${VAR}`, `${VAR:-default}` and `${file:path}` filled in."""
        return self._fill(self._values, ())

    def _fill(self, value: Any, path: Place) -> Any:
        if isinstance(value, dict):
            return {key: self._fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _SUBSTITUTION.sub(lambda match: self._substitute(match[1], path), value)
        return value

    def _substitute(self, expression: str, path: Place) -> str:
        if expression.startswith("file:"):
            secret = self._folder / expression.removeprefix("file:")
            try:
                return secret.read_text().rstrip("\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                self._add("config.secret", path, f"${{{expression}}}", f"cannot read {secret}: {reason}")
                return ""
        name, has_default, default = expression.partition(":-")
        if not _NAME.match(name):
            self._add("config.variable", path, f"${{{expression}}}", "is not a variable name",
                      "write ${NAME}, ${NAME:-default} or ${file:/path}")  # fmt: skip
        elif name in os.environ:
            return os.environ[name]
        elif not has_default:
            self._add("config.variable", path, f"${{{name}}}", "the environment variable is not set",
                      f"export {name}=…, or write ${{{name}:-default}}")  # fmt: skip
        return default

    def _add(self, code: str, path: Place, value: str | None, message: str, mend: str | None = None) -> None:
        self.problems.append(Problem(code, dotted(path), self._lines.get(path), value, message, mend))

    def written(self, path: Place) -> str | None:
        """The value as it is written, before secrets were filled in, for people; None when there is none."""
        raw = self._raw.get(path)
        return None if raw is None or is_secret(path) else shown(raw)

    def locate(self, problem: Problem) -> Problem:
        """The problem with its line, and its value as it is written."""
        path: Place = tuple(problem.path.split("."))
        value = self.written(path) or problem.value
        return Problem(problem.code, problem.path, self.line(path), value, problem.message, problem.mend)

    def line(self, path: Place) -> int | None:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path) if path else None


def dotted(path: Place) -> str:
    return ".".join(str(part) for part in path)


# A URL whose scheme was forgotten: user:password@host.
_BARE_LOGIN = re.compile(r"[^\s/:@'\"]+:[^\s/]*@")


def shown(value: Any) -> str:
    """A value for people, without credentials."""
    return _BARE_LOGIN.sub("***@", redact(repr(value))) if "://" not in repr(value) else redact(repr(value))


def is_secret(path: Place) -> bool:
    """Whether nobody may see what is at this place."""
    # A webhook's address may be all that one needs to know to use it.
    of_bridge = path[:1] == ("bridges",) and ("url" in path or "headers" in path)
    return of_bridge or any(part in ("token", "password", "credential", "secret") for part in path)
