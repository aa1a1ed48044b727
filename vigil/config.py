"""The whole configuration: the stages' parts composed, read from YAML, with every problem told at once."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from inference.config import DetectorConfig
from ingest.config import SourceConfig
from ingest.errors import VigilError
from ingest.redact import redact
from publish.config import STREAM_ID, HttpConfig, LogConfig, NatsConfig
from tracking.config import TrackerConfig

StreamId = Annotated[str, StringConstraints(pattern=STREAM_ID, max_length=64)]

Path_ = tuple[str | int, ...]


class StreamConfig(SourceConfig):
    """One camera: its source, and what differs from the defaults for it."""

    tracker: TrackerConfig | None = Field(None, description="Tracking for this stream; default: the top-level one.")


class WorkersConfig(BaseModel):
    """How streams are spread over processes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams_per_worker: int = Field(8, ge=1, le=256, description="A worker that dies takes this many streams with it.")
    slots_per_stream: int = Field(4, ge=2, le=64, description="Ring slots of each stream.")
    standby: bool = Field(
        True, description="Keep one started worker in reserve: it takes over from a dead one at once, for its memory."
    )


class VigilConfig(BaseModel):
    """Everything `vigil run` needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: StreamId = Field("local", description="Name of this installation; part of every subject.")
    state_dir: Path | None = Field(
        None, description="Where the embedded NATS server keeps its streams; default: ~/.local/state/vigil/<site>."
    )
    nats: NatsConfig = Field(default_factory=lambda: NatsConfig())
    detector: DetectorConfig = Field(default_factory=lambda: DetectorConfig())
    tracker: TrackerConfig = Field(default_factory=lambda: TrackerConfig())
    workers: WorkersConfig = Field(default_factory=lambda: WorkersConfig())
    http: HttpConfig = Field(default_factory=lambda: HttpConfig())
    log: LogConfig = Field(default_factory=lambda: LogConfig())
    streams: dict[StreamId, StreamConfig] = Field(
        description="The cameras by id; ids are subject tokens, metric labels and URL parts.", min_length=1
    )

    @property
    def revision(self) -> str:
        """Eight hex digits that change when the configuration does."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:8]

    @property
    def state_folder(self) -> Path:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        return self.state_dir or base / "vigil" / self.site


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


def load(file: Path) -> VigilConfig:
    """Reads and checks a config file.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(str(file), [Problem("config.unreadable", "", None, None, reason)]) from None
    return parse(text, str(file), file.resolve().parent)


def parse(text: str, name: str, folder: Path) -> VigilConfig:
    """As `load`, from text; relative paths in it start at `folder`."""
    document = _Document(text, name)
    filled = document.filled()
    problems = document.problems
    config = None
    try:
        config = VigilConfig.model_validate(filled)
    except ValidationError as error:
        # A place whose variable could not be filled has been reported already.
        told = {problem.path for problem in problems}
        found = [document.problem(details) for details in error.errors(include_url=False)]
        problems += [problem for problem in found if problem.path not in told]
    if config is not None:
        config = _resolve_paths(config, folder)
        problems += [document.locate(problem) for problem in _check(config)]
    if problems or config is None:
        raise ConfigError(name, problems)
    return config


def _resolve_paths(config: VigilConfig, folder: Path) -> VigilConfig:
    """Relative paths in a config are relative to the config, whatever directory the service starts in."""

    def beside(path: Path) -> Path:
        return path.expanduser() if path.expanduser().is_absolute() else folder / path

    streams = {
        name: stream.model_copy(update={"url": str(beside(stream.file_path))}) if stream.is_file else stream
        for name, stream in config.streams.items()
    }
    update: dict[str, Any] = {"streams": streams}
    model = beside(Path(config.detector.model))
    if model.is_file():
        update["detector"] = config.detector.model_copy(update={"model": str(model)})
    if config.nats.credentials:
        update["nats"] = config.nats.model_copy(update={"credentials": beside(config.nats.credentials)})
    if config.state_dir:
        update["state_dir"] = beside(config.state_dir)
    return config.model_copy(update=update)


def _check(config: VigilConfig) -> list[Problem]:
    """What no single field can know."""
    problems = []
    for name, stream in config.streams.items():
        path = f"streams.{name}"
        if stream.is_file and not stream.file_path.is_file():
            problems.append(Problem("config.file_missing", f"{path}.url", None, stream.url, "there is no such file"))
        if not stream.is_file and stream.on_full == "block":
            problems.append(Problem(
                "config.conflict", f"{path}.on_full", None, "block", "a live camera cannot be made to wait",
                "use `drop`, or a file as the source",
            ))  # fmt: skip
        if not stream.is_file and (stream.loop or stream.pace == "fast"):
            field = "loop" if stream.loop else "pace"
            problems.append(
                Problem("config.conflict", f"{path}.{field}", None, None, "only files have it", "remove it")
            )
    detector = config.detector
    if ("/" in detector.model or detector.model.endswith(".onnx")) and not Path(detector.model).is_file():
        problems.append(Problem(
            "config.file_missing", "detector.model", None, detector.model, "there is no such file",
            "give the path of a .pt or .onnx file, the name of an Ultralytics model, `starter` or `auto`",
        ))  # fmt: skip
    if config.nats.credentials and not config.nats.credentials.is_file():
        value = str(config.nats.credentials)
        problems.append(Problem("config.file_missing", "nats.credentials", None, value, "there is no such file"))
    return problems


_SUBSTITUTION = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


class _Document:
    """A YAML text: its plain values, the line of each, and the problems met on the way."""

    def __init__(self, text: str, name: str) -> None:
        self.problems: list[Problem] = []
        self._lines: dict[Path_, int] = {}
        self._raw: dict[Path_, Any] = {}
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            words = getattr(error, "problem", None) or str(error)
            problem = Problem("config.syntax", "", mark.line + 1 if mark else None, None, f"not valid YAML: {words}")
            raise ConfigError(name, [problem]) from None
        self._values = self._read(node, ()) if node is not None else {}

    def _read(self, node: yaml.Node, path: Path_) -> Any:
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = str(yaml.SafeLoader("").construct_object(key_node))
                if key in result:
                    self.problems.append(Problem(
                        "config.duplicate", _dotted((*path, key)), key_node.start_mark.line + 1, None,
                        "is given twice", "keep one of the two",
                    ))  # fmt: skip
                result[key] = self._read(value_node, (*path, key))
                self._lines[(*path, key)] = key_node.start_mark.line + 1
            return result
        if isinstance(node, yaml.SequenceNode):
            return [self._read(item, (*path, index)) for index, item in enumerate(node.value)]
        value = yaml.SafeLoader("").construct_object(node)
        self._raw[path] = value
        return value

    def filled(self) -> Any:
        """The values with `${VAR}`, `${VAR:-default}` and `${file:path}` filled in."""
        return self._fill(self._values, ())

    def _fill(self, value: Any, path: Path_) -> Any:
        if isinstance(value, dict):
            return {key: self._fill(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _SUBSTITUTION.sub(lambda match: self._substitute(match[1], path), value)
        return value

    def _substitute(self, expression: str, path: Path_) -> str:
        if expression.startswith("file:"):
            secret = Path(expression.removeprefix("file:"))
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

    def _add(self, code: str, path: Path_, value: str, message: str, mend: str | None = None) -> None:
        self.problems.append(Problem(code, _dotted(path), self._lines.get(path), value, message, mend))

    def problem(self, details: ErrorDetails) -> Problem:
        """A pydantic error in words for people. Values are shown as written, before secrets were filled in."""
        is_key = "[key]" in details["loc"]
        path: Path_ = tuple(part for part in details["loc"] if part != "[key]")
        message, mend = details["msg"], None
        code = "config.value"
        raw = self._raw.get(path)
        value = None if raw is None else redact(repr(raw))
        match details["type"]:
            case "extra_forbidden":
                code, message, value = "config.unknown_key", "is not a known key", None
                known = _fields(path[:-1])
                near = difflib.get_close_matches(str(path[-1]), known, 1, 0.5)
                mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            case "missing":
                code, message, mend = "config.missing", "is required", f"add `{path[-1]}:`"
            case "string_pattern_mismatch" if is_key:
                code, message, value = "config.id", "is not a valid id", repr(path[-1])
                mend = "use lower-case letters, digits, - and _, starting with a letter or digit"
            case "value_error":
                message = message.removeprefix("Value error, ")
            case "model_type" | "dict_type":
                message, value = "must be a mapping of keys to values", value or "nothing"
        if _is_secret(path):
            value = None
        return Problem(code, _dotted(path), self._line(path), value, message[0].lower() + message[1:], mend)

    def locate(self, problem: Problem) -> Problem:
        path: Path_ = tuple(problem.path.split("."))
        raw = self._raw.get(path)
        value = redact(repr(raw)) if raw is not None else problem.value
        return Problem(problem.code, problem.path, self._line(path), value, problem.message, problem.mend)

    def _line(self, path: Path_) -> int | None:
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path) if path else None


def _dotted(path: Path_) -> str:
    return ".".join(str(part) for part in path)


def _is_secret(path: Path_) -> bool:
    return any(part in ("token", "password") for part in path)


def _model_at(path: Path_) -> type[BaseModel] | None:
    """The model that describes the mapping at `path`."""
    model: type[BaseModel] | None = VigilConfig
    for index, part in enumerate(path):
        if index == 1 and path[0] == "streams":
            model = StreamConfig
        elif part != "streams":
            model = next((c for c in _models(model, str(part))), None) if model else None
    return model


def _models(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(name)
    annotations = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
    return [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]


def _fields(path: Path_) -> list[str]:
    model = _model_at(path)
    return list(model.model_fields) if model else []
