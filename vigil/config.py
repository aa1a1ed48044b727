"""The whole configuration: the stages' parts composed, read from YAML, with every problem told at once."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from inference.config import DetectorConfig
from inference.runtimes.triton_model import is_triton
from ingest.config import SourceConfig
from ingest.polygon import covers
from ingest.redact import redact
from ingest.webrtc.config import WebRtcConfig
from publish.config import STREAM_ID, HttpConfig, LogConfig, NatsConfig
from tracking.config import TrackerConfig
from tracking.rules.config import LineConfig, ZoneConfig
from vigil.document import ConfigError, Document, Place, Problem, dotted

Settings = TypeVar("Settings", bound=BaseModel)

StreamId = Annotated[str, StringConstraints(pattern=STREAM_ID, max_length=64)]


class StreamConfig(SourceConfig):
    """One camera: its source, and what differs from the defaults for it."""

    tracker: TrackerConfig | None = Field(
        None, description="Tracking for this stream: what is set here goes before the top-level settings."
    )
    detector: str | None = Field(
        None, description="Which of `detectors` analyses this stream; default: the one in `detector`."
    )
    zones: dict[StreamId, ZoneConfig] = Field(
        default_factory=dict, description="Areas of the picture by name: who enters, stays in and leaves them."
    )
    lines: dict[StreamId, LineConfig] = Field(
        default_factory=dict, description="Lines across the picture by name: who crosses them, and to which side."
    )
    weight: float = Field(
        1.0, gt=0, le=100, description="Share of the detector when it cannot serve all: twice the weight, twice the "
        "frames.",
    )  # fmt: skip


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
    detectors: dict[StreamId, DetectorConfig] = Field(
        default_factory=dict, description="More detectors, by name, for streams to choose from; what one does not set "
        "is as in `detector`.",
    )  # fmt: skip
    tracker: TrackerConfig = Field(default_factory=lambda: TrackerConfig())
    workers: WorkersConfig = Field(default_factory=lambda: WorkersConfig())
    http: HttpConfig = Field(default_factory=lambda: HttpConfig())
    webrtc: WebRtcConfig = Field(default_factory=lambda: WebRtcConfig())
    log: LogConfig = Field(default_factory=lambda: LogConfig())
    streams: dict[StreamId, StreamConfig] = Field(
        description="The cameras by id; ids are subject tokens, metric labels and URL parts."
    )

    def detector_of(self, stream: str) -> DetectorConfig:
        """The detector settings that apply to a stream."""
        return self.detector_settings(self.streams[stream].detector)

    def detector_settings(self, name: str | None) -> DetectorConfig:
        """The settings of one of `detectors`, or of the default."""
        if name is None:
            return self.detector
        own = self.detectors[name]
        elsewhere = {"devices": None} if "device" in own.model_fields_set else {}
        return _over(self.detector, own).model_copy(update=elsewhere)

    def tracker_of(self, stream: str) -> TrackerConfig:
        """The tracker settings that apply to a stream."""
        own = self.streams[stream].tracker
        return _over(self.tracker, own) if own else self.tracker

    @property
    def revision(self) -> str:
        """Eight hex digits that change when the configuration does."""
        return _revision(self)

    def revision_of(self, stream: str) -> str:
        """Eight hex digits that change when what applies to the stream does."""
        return _revision(self.streams[stream], self.tracker_of(stream), self.detector_of(stream))

    @property
    def state_folder(self) -> Path:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        return self.state_dir or base / "vigil" / self.site


def _revision(*settings: BaseModel) -> str:
    return hashlib.sha256("".join(one.model_dump_json() for one in settings).encode()).hexdigest()[:8]


def _over(defaults: Settings, own: Settings) -> Settings:
    """The defaults with what was set in `own`."""
    return defaults.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


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
        if stream.is_file and not (stream.file_path.is_file() or stream.is_folder):
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
        masks = [mask.polygon for mask in stream.privacy_masks.values()]
        places = {f"{path}.zones.{zone}.polygon": one.polygon for zone, one in stream.zones.items()}
        places |= {f"{path}.lines.{line}.from": [one.start, one.end] for line, one in stream.lines.items()}
        problems += [
            Problem("config.hidden", place, None, None, "lies under the stream's privacy masks, where nothing is seen",
                    "move it, or remove it")
            for place, corners in places.items() if masks and covers(masks, corners)
        ]  # fmt: skip
        if stream.detector is not None and stream.detector not in config.detectors:
            known = ", ".join(config.detectors) or "there are none"
            problems.append(Problem(
                "config.unknown_detector", f"{path}.detector", None, stream.detector, "is not one of `detectors`",
                f"known: {known}",
            ))  # fmt: skip
    problems += _check_detector("detector", config.detector)
    for name, detector in config.detectors.items():
        problems += _check_detector(f"detectors.{name}", detector)
    if config.nats.credentials and not config.nats.credentials.is_file():
        value = str(config.nats.credentials)
        problems.append(Problem("config.file_missing", "nats.credentials", None, value, "there is no such file"))
    return problems


def _check_detector(path: str, detector: DetectorConfig) -> list[Problem]:
    problems = []
    names_a_file = ("/" in detector.model or detector.model.endswith(".onnx")) and not is_triton(detector.model)
    if names_a_file and not Path(detector.model).is_file():
        problems.append(Problem(
            "config.file_missing", f"{path}.model", None, detector.model, "there is no such file",
            "give the path of a .pt or .onnx file, the name of an Ultralytics model, `starter` or `auto`",
        ))  # fmt: skip
    if detector.calibration and not detector.calibration.is_dir():
        value = str(detector.calibration)
        problems.append(Problem("config.file_missing", f"{path}.calibration", None, value, "there is no such folder"))
    if detector.triton.sidecar and not detector.triton.sidecar.is_file():
        value = str(detector.triton.sidecar)
        problems.append(Problem("config.file_missing", f"{path}.triton.sidecar", None, value, "there is no such file"))
    return problems


def _explain(details: ErrorDetails, document: Document) -> Problem:
    """A pydantic error in words for people."""
    is_key = "[key]" in details["loc"]
    path: Place = tuple(part for part in details["loc"] if part != "[key]")
    message, mend = details["msg"], None
    code = "config.value"
    value = document.written(path)
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
    message = redact(message)
    return Problem(code, dotted(path), document.line(path), value, message[0].lower() + message[1:], mend)


def _model_at(path: Place) -> type[BaseModel] | None:
    """The model that describes the mapping at `path`."""
    model: type[BaseModel] | None = VigilConfig
    for index, part in enumerate(path):
        if index == 1 and path[0] in ("streams", "detectors"):
            model = StreamConfig if path[0] == "streams" else DetectorConfig
        elif part not in ("streams", "detectors") and not isinstance(part, int) and path[index - 1] != "privacy_masks":
            model = next((c for c in _models(model, str(part))), None) if model else None
    return model


def _models(model: type[BaseModel], name: str) -> list[type[BaseModel]]:
    field = model.model_fields.get(name)
    annotations = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
    return [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]


def _fields(path: Place) -> list[str]:
    model = _model_at(path)
    return list(model.model_fields) if model else []
