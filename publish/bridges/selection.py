"""Which events a bridge carries: what the server can sort out by subject, and what only the event itself tells."""

from __future__ import annotations

from publish.bridges.config import BridgeConfig
from publish.bridges.contract import Told
from publish.subjects import Subjects


def wanted_subjects(config: BridgeConfig, subjects: Subjects, also: tuple[str, ...] = ()) -> list[str]:
    """The subjects of the streams and types that are wanted, and of the types in `also`; none overlaps another."""
    types = [">"] if config.types is None else sorted({*config.types, *also})
    return [subjects.event(stream, one) for stream in sorted(set(config.streams or ["*"])) for one in types]


def concerns(config: BridgeConfig, event: Told) -> bool:
    """Whether the event is of the streams, classes and zones that are wanted, whatever its type."""
    if config.streams is not None and event.stream not in config.streams:
        return False
    if config.classes is not None and event.class_name is not None and event.class_name not in config.classes:
        return False
    return config.zones is None or event.zone in config.zones or event.line in config.zones


def wants(config: BridgeConfig, event: Told) -> bool:
    """Whether the peer is to get the event. What is exactly at the least confidence passes."""
    if config.types is not None and event.type not in config.types:
        return False
    if event.confidence is not None and event.confidence < config.min_confidence:
        return False
    return concerns(config, event)
