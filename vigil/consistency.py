"""What no single field of a configuration can know: what does not go together, what is not there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from inference.config import DetectorConfig
from inference.runtimes.triton_model import is_triton
from ingest.polygon import covers
from publish import login
from publish.bridges.config import MqttConfig
from publish.config import NatsConfig
from tracking.config import TrackerConfig, conflicts
from tracking.reid.config import is_file
from tracking.reid.onnx_file import ReidError, read_shape
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.rules.reach import can_be_crossed, can_be_entered
from vigil.comparable import check_identity
from vigil.config import StreamConfig, VigilConfig
from vigil.document import Problem


def problems_of(config: VigilConfig) -> list[Problem]:
    """All of them, without their lines."""
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
        if stream.tracker is not None:
            problems += _check_tracker(
                f"{path}.tracker", config.tracker_of(name), config.identity_of(name) is not None, but=config.tracker
            )
        problems += _check_rules(path, stream)
        problems += _check_clips(path, stream)
        if stream.detector is not None and stream.detector not in config.detectors:
            known = ", ".join(config.detectors) or "there are none"
            problems.append(Problem(
                "config.unknown_detector", f"{path}.detector", None, stream.detector, "is not one of `detectors`",
                f"known: {known}",
            ))  # fmt: skip
    problems += _check_tracker("tracker", config.tracker, config.identity.enabled)
    own = {f"streams.{name}.tracker": stream.tracker for name, stream in config.streams.items() if stream.tracker}
    for path, tracker in ({"tracker": config.tracker} | own).items():
        problems += _check_reid(f"{path}.reid", tracker.reid)
    problems += check_identity(config)
    if config.media.store == "s3" and find_spec("boto3") is None:
        problems.append(Problem(
            "config.not_installed", "media.store", None, "s3", "needs boto3", "pip install 'vigil-video[s3]'",
        ))  # fmt: skip
    problems += _check_detector("detector", config.detector)
    for name, detector in config.detectors.items():
        problems += _check_detector(f"detectors.{name}", detector)
    for name, bridge in config.bridges.items():
        if isinstance(bridge, MqttConfig) and bridge.ca and not bridge.ca.is_file():
            path, value = f"bridges.{name}.ca", str(bridge.ca)
            problems.append(Problem("config.file_missing", path, None, value, "there is no such file"))
    return problems + _check_nats(config.nats)


def _check_nats(config: NatsConfig) -> list[Problem]:
    together = [
        Problem("config.conflict", f"nats.{field}", None, value, message, mend)
        for field, value, message, mend in login.conflicts(config)
    ]
    return together + [
        Problem(error.code, f"nats.{error.setting}", None, str(error.file), error.message, error.mend)
        for error in login.file_problems(config)
    ]


def _check_tracker(
    path: str, tracker: TrackerConfig, identified: bool, but: TrackerConfig | None = None
) -> list[Problem]:
    """What does not go together in `tracker`, except for what is so in `but` too; `identified`: what objects look like
    is of use without the tracker, too."""
    known = conflicts(but) if but is not None else []
    return [
        Problem("config.conflict", f"{path}.{field}", None, value, message, mend)
        for field, value, message, mend in conflicts(tracker)
        if (field, value, message, mend) not in known and not (identified and field == "reid")
    ]


def _check_rules(path: str, stream: StreamConfig) -> list[Problem]:
    """Zones that nothing can be in, and lines that nothing can cross."""
    masks = [mask.polygon for mask in stream.privacy_masks.values()]
    places = {f"{path}.zones.{name}.polygon": (zone, zone.polygon) for name, zone in stream.zones.items()}
    lines = {f"{path}.lines.{name}.from": (line, [line.start, line.end]) for name, line in stream.lines.items()}
    problems = []
    for place, (rule, corners) in [*places.items(), *lines.items()]:
        margin = f"`margin` ({rule.margin:g} picture heights)"
        if masks and covers(masks, corners):
            problems.append(Problem(
                "config.hidden", place, None, None, "lies under the stream's privacy masks, where nothing is seen",
                "move it, or remove it",
            ))  # fmt: skip
        elif isinstance(rule, ZoneConfig) and not can_be_entered(rule):
            problems.append(Problem(
                "config.too_small", place, None, None, f"nothing can be in it: no point is {margin} within its edges",
                "make it larger, or its `margin` smaller",
            ))  # fmt: skip
        elif isinstance(rule, LineConfig) and not can_be_crossed(rule):
            problems.append(Problem(
                "config.unreachable", place, None, None, f"nothing can cross it: less than {margin} lies beyond it",
                "move it inwards",
            ))  # fmt: skip
    return problems


def _check_clips(path: str, stream: StreamConfig) -> list[Problem]:
    """Who cannot have clips: they are what the camera sent, as it was sent."""
    if stream.clips is None:
        return []
    if stream.privacy_masks:
        return [Problem(
            "config.conflict", f"{path}.clips", None, None, "clips are the camera's own video, without masks",
            "remove it and use `snapshots`, or remove `privacy_masks`",
        )]  # fmt: skip
    if stream.scheme in ("scene", "whip", "v4l2") or stream.is_folder:
        return [Problem(
            "config.conflict", f"{path}.clips", None, None, "this source gives pictures, not video that could be cut",
            "remove it and use `snapshots`; clips need a camera, an address or a video file",
        )]  # fmt: skip
    return []


def _check_reid(path: str, reid: str) -> list[Problem]:
    if not is_file(reid):
        return []
    if not Path(reid).is_file():
        mend = "give the path of a ReID model's .onnx file, `detector` or `off`"
        return [Problem("config.file_missing", path, None, reid, "there is no such file", mend)]
    try:
        read_shape(Path(reid))
    except ReidError as error:
        return [Problem(error.code, path, None, reid, str(error), "docs/reid.md says what a ReID model is")]
    return []


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
