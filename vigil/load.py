"""Reads a configuration from YAML, and tells every problem of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from inference.config import DetectorConfig
from ingest.redact import redact
from publish.bridges.config import BRIDGE_CONFIGS, MqttConfig
from publish.config import NatsConfig
from tracking.config import TrackerConfig
from tracking.reid.config import is_file
from vigil.config import StreamConfig, VigilConfig
from vigil.consistency import problems_of
from vigil.document import ConfigError, Document, Place, Problem, dotted

# Settings of a stream whose keys are names of the user's own.
NAMED = ("privacy_masks", "zones", "lines")


def load(file: Path) -> VigilConfig:
    """Reads and checks a config file.

    Raises:
        ConfigError: with every problem found.
    """
    return parse(read(file), str(file), file.resolve().parent)


def read(file: Path) -> str:
    """A config file's text.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(str(file), [Problem("config.unreadable", "", None, None, reason)]) from None


def parse(text: str, name: str, folder: Path, streams: Mapping[str, Any] | None = None) -> VigilConfig:
    """As `load`, from text; relative paths in it start at `folder`. `streams`: some in place of its own."""
    document = Document(text, name, folder)
    if streams:
        document.replace("streams", streams)
    filled = document.filled()
    problems = document.problems
    config = None
    try:
        config = VigilConfig.model_validate(filled)
    except ValidationError as error:
        # A place whose variable could not be filled has been reported already.
        told = {problem.path for problem in problems}
        found = [_explain(details, document) for details in error.errors(include_url=False)]
        problems += [problem for problem in found if problem.path not in told]
    if config is not None:
        config = _resolve_paths(config, folder)
        problems += [document.locate(problem) for problem in problems_of(config)]
    if problems or config is None:
        raise ConfigError(name, problems)
    return config


def _resolve_paths(config: VigilConfig, folder: Path) -> VigilConfig:
    """Relative paths in a config are relative to the config, whatever directory the service starts in."""

    def beside(path: Path) -> Path:
        return path.expanduser() if path.expanduser().is_absolute() else folder / path

    def placed(stream: StreamConfig) -> StreamConfig:
        update: dict[str, Any] = {"url": str(beside(stream.file_path))} if stream.is_file else {}
        if stream.tracker is not None:
            update["tracker"] = told(stream.tracker)
        return stream.model_copy(update=update)

    def told(tracker: TrackerConfig) -> TrackerConfig:
        if not is_file(tracker.reid):
            return tracker
        return tracker.model_copy(update={"reid": str(beside(Path(tracker.reid)))})

    update: dict[str, Any] = {
        "streams": {name: placed(stream) for name, stream in config.streams.items()},
        "tracker": told(config.tracker),
    }

    def found(detector: DetectorConfig) -> DetectorConfig:
        update: dict[str, Any] = {}
        model = beside(Path(detector.model))
        if model.is_file():
            update["model"] = str(model)
        if detector.calibration:
            update["calibration"] = beside(detector.calibration)
        if detector.triton.sidecar:
            update["triton"] = detector.triton.model_copy(update={"sidecar": beside(detector.triton.sidecar)})
        return detector.model_copy(update=update)

    update["detector"] = found(config.detector)
    update["detectors"] = {name: found(detector) for name, detector in config.detectors.items()}
    update["nats"] = _nats_placed(config.nats, beside)
    if (tls := config.http.tls) is not None:
        placed_tls = tls.model_copy(update={"cert": beside(tls.cert), "key": beside(tls.key)})
        update["http"] = config.http.model_copy(update={"tls": placed_tls})
    if config.media.folder:
        update["media"] = config.media.model_copy(update={"folder": beside(config.media.folder)})
    update["bridges"] = {
        name: bridge.model_copy(update={"ca": beside(bridge.ca)})
        if isinstance(bridge, MqttConfig) and bridge.ca else bridge
        for name, bridge in config.bridges.items()
    }  # fmt: skip
    if config.state_dir:
        update["state_dir"] = beside(config.state_dir)
    return config.model_copy(update=update)


def _nats_placed(config: NatsConfig, beside: Callable[[Path], Path]) -> NatsConfig:
    files = {name: beside(file) for name in ("nkey", "credentials") if (file := getattr(config, name))}
    of_tls = {name: beside(file) for name in ("ca", "certificate", "key") if (file := getattr(config.tls, name))}
    tls = {"tls": config.tls.model_copy(update=of_tls)} if of_tls else {}
    return config.model_copy(update={**files, **tls})


def _explain(details: ErrorDetails, document: Document) -> Problem:
    """A pydantic error in words for people."""
    is_key = "[key]" in details["loc"]
    path: Place = tuple(part for part in details["loc"] if part != "[key]")
    kind = ""
    if path[:1] == ("bridges",) and len(path) > 2:  # pydantic names the kind there, which is no key
        kind, path = str(path[2]), (*path[:2], *path[3:])
    message, mend = details["msg"], None
    code = "config.value"
    value = document.written(path)
    match details["type"]:
        case "extra_forbidden":
            code, message, value = "config.unknown_key", "is not a known key", None
            known = _fields(path[:-1], kind)
            near = difflib.get_close_matches(str(path[-1]), known, 1, 0.5)
            mend = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        case "missing":
            code, message, mend = "config.missing", "is required", f"add `{path[-1]}:`"
        case "string_pattern_mismatch" if is_key:
            code, message, value = "config.id", "is not a valid id", repr(path[-1])
            mend = "use lower-case letters, digits, - and _, starting with a letter or digit"
        case "union_tag_invalid" | "union_tag_not_found":
            path = (*path, "kind")
            code, message = "config.value", f"must be one of {', '.join(BRIDGE_CONFIGS)}"
            value = document.written(path)
        case "value_error":
            message = message.removeprefix("Value error, ")
        case "model_type" | "dict_type":
            message = "must be a mapping of keys to values"
            value = value or ("a list" if isinstance(details["input"], list) else "nothing")
    message = redact(message)
    return Problem(code, dotted(path), document.line(path), value, message[0].lower() + message[1:], mend)


def _model_at(path: Place, kind: str) -> type[BaseModel] | None:
    """The model that describes the mapping at `path`; `kind` is that of the bridge that it is of."""
    model: type[BaseModel] | None = VigilConfig
    for index, part in enumerate(path):
        if index == 1 and path[0] in ("streams", "detectors"):
            model = StreamConfig if path[0] == "streams" else DetectorConfig
        elif index == 1 and path[0] == "bridges":
            model = BRIDGE_CONFIGS.get(kind)
        elif (
            part not in ("streams", "detectors", "bridges")
            and not isinstance(part, int)
            and path[index - 1] not in NAMED
        ):
            model = next((c for c in _models(model, str(part))), None) if model else None
    return model


def _models(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(name)
    annotations = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
    return [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]


def _fields(path: Place, kind: str) -> list[str]:
    model = _model_at(path, kind)
    return list(model.model_fields) if model else []
