"""Whether what the streams of a config tell of looks can be compared across cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracking.reid.config import DETECTOR, OFF
from vigil.document import Problem

if TYPE_CHECKING:
    from vigil.config import VigilConfig


def check_identity(config: VigilConfig) -> list[Problem]:
    """Whether there is something to compare, and whether it can be compared."""
    identity = config.identity
    problems: list[Problem] = []
    if not identity.enabled:
        return problems
    for name in identity.streams or ():
        if name not in config.streams:
            known = ", ".join(config.streams) or "there are none"
            problems.append(Problem(
                "config.unknown_stream", "identity.streams", None, name, "is not one of the streams", f"known: {known}",
            ))  # fmt: skip
        elif config.tracker_of(name).reid == OFF:
            problems.append(Problem(
                "config.no_features", "identity.streams", None, name, "nothing tells how its objects look",
                f"set streams.{name}.tracker.reid to a ReID model's .onnx file (docs/reid.md)",
            ))  # fmt: skip
    if problems:
        return problems
    by = {name: _made_with(config, name) for name in config.streams if config.identity_of(name)}
    if not by and (config.streams or config.tracker.reid == OFF):
        return [Problem(
            "config.no_features", "identity.enabled", None, "true", "no stream has what tells how its objects look",
            "set tracker.reid to a ReID model's .onnx file (docs/reid.md), or identity.enabled to false",
        )]  # fmt: skip
    first = next(iter(by), None)
    if other := next((name for name in by if by[name] != by[first or ""]), None):
        return [Problem(
            "config.different_features", f"streams.{other}.tracker.reid", None, by[other],
            f"{by[other]} tells looks that cannot be compared with those of stream {first!r}, {by[first or '']}",
            "use one ReID model for all, or name those that take part in identity.streams",
        )]  # fmt: skip
    if identity.likeness is None and any(config.tracker_of(name).reid == DETECTOR for name in by):
        return [Problem(
            "config.weak_features", "identity.likeness", None, None,
            "the detector's own features take different persons for the same one most of the time",
            "set tracker.reid to a ReID model's file, or identity.likeness to what you measured (docs/identity.md)",
        )]  # fmt: skip
    return problems


def _made_with(config: VigilConfig, stream: str) -> str:
    """What the stream's features are made with, in the user's words."""
    reid = config.tracker_of(stream).reid
    if reid != DETECTOR:
        return reid
    name = config.streams[stream].detector
    return f"{reid} ({f'detectors.{name}' if name else 'detector'})"
