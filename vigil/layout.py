"""Which processes a config calls for: a detector for each model and device in use, and workers for the streams of each.

A worker's streams all go to one detector, so that it has one link and one ring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from inference.config import DetectorConfig
from inference.model import ModelInfo
from ingest.activity import Activity
from tracking.reid.config import DETECTOR
from vigil.child import Child
from vigil.config import VigilConfig
from vigil.orders import StreamOrder


@dataclass(slots=True, eq=False)
class DetectorPlace:
    """A detector's place, and the process that has it at present.

    `config` is what that process is told: weak boxes, which only the trackers want, are asked for too. `confidence` is
    the least score that users want reported; `features`: some stream wants to know what objects look like. `ref` is its
    name among `detectors`, None for the default. `retired`: it ends, and nobody starts it again.
    """

    name: str
    ref: str | None
    config: DetectorConfig
    confidence: float
    features: bool = False
    child: Child | None = None
    model: ModelInfo | None = None
    restarts: int = 0
    retired: bool = False

    @property
    def ready(self) -> bool:
        return self.child is not None and self.child.ready.is_set() and not self.child.ended.is_set()

    def serves_as(self, other: DetectorPlace) -> bool:
        """Whether this one can stand where the other is wanted."""
        ours = self.ref, self.config, self.confidence, self.features
        theirs = other.ref, other.config, other.confidence, other.features
        return ours == theirs and not self.retired


@dataclass(slots=True, eq=False)
class Seat:
    """A stream's place in a worker. `leaving`: the worker was told to let go of it."""

    order: StreamOrder
    leaving: bool = False


@dataclass(slots=True, eq=False)
class Shard:
    """A worker's place: its streams by number, their detector, and the process that has them at present.

    `stuck` are numbers whose stream has gone elsewhere, but whose reader is in a call that does not return. `alone`:
    for one stream that has harmed a worker. `retired`: it ends, and nobody starts it again.
    """

    name: str
    detector: DetectorPlace
    capacity: int
    alone: bool = False
    seats: dict[int, Seat] = field(default_factory=dict)
    stuck: set[int] = field(default_factory=set)
    child: Child | None = None
    activity: Activity | None = None
    restarts: int = 0
    retired: bool = False

    @property
    def streams(self) -> list[str]:
        return [seat.order.name for seat in self.seats.values()]

    def free_number(self) -> int | None:
        taken = self.seats.keys() | self.stuck
        return next((number for number in range(self.capacity) if number not in taken), None)

    def number_of(self, stream: str) -> int | None:
        return next((number for number, seat in self.seats.items() if seat.order.name == stream), None)


def detectors_of(config: VigilConfig) -> dict[str | None, list[DetectorPlace]]:
    """The detectors that streams name, each on all of its devices; without any stream, the default."""
    by_detector: dict[str | None, list[str]] = {}
    for name, stream in config.streams.items():
        by_detector.setdefault(stream.detector, []).append(name)
    return {name: _places(config, name, streams) for name, streams in (by_detector or {None: []}).items()}


def _places(config: VigilConfig, detector: str | None, streams: list[str]) -> list[DetectorPlace]:
    settings = config.detector_settings(detector)
    trackers = [config.tracker_of(name) for name in streams] or [config.tracker]
    weakest = min(tracker.low_confidence for tracker in trackers)
    told = settings.model_copy(update={"confidence": min(weakest, settings.confidence)})
    features = any(tracker.reid == DETECTOR for tracker in trackers)
    name = f"detector-{detector}" if detector else "detector"
    if not settings.devices:
        return [DetectorPlace(name, detector, told, settings.confidence, features)]
    on_each = [(device, told.model_copy(update={"device": device, "devices": None})) for device in settings.devices]
    return [DetectorPlace(f"{name}@{device}", detector, own, settings.confidence, features) for device, own in on_each]


def spread(streams: Sequence[str], places: Sequence[DetectorPlace], size: int) -> list[tuple[list[str], DetectorPlace]]:
    """The streams of one detector over as few workers of at most `size` as serve its devices evenly."""
    workers = -(-len(streams) // size)
    workers += -workers % len(places)  # as many for each device
    each = -(-len(streams) // workers)
    return [
        (list(streams[start : start + each]), places[start // each % len(places)])
        for start in range(0, len(streams), each)
    ]


def room(shards: Iterable[Shard], places: Sequence[DetectorPlace]) -> Shard | None:
    """Where one more stream of these detectors goes: the emptiest worker that has a free number."""
    fit = [
        shard
        for shard in shards
        if shard.detector in places and not shard.alone and not shard.retired and shard.free_number() is not None
    ]
    return min(fit, key=lambda shard: len(shard.seats), default=None)


def emptiest(places: Sequence[DetectorPlace], shards: Iterable[Shard]) -> DetectorPlace:
    """The device that serves the fewest streams."""
    load = dict.fromkeys(places, 0)
    for shard in shards:
        if shard.detector in load:
            load[shard.detector] += len(shard.seats)
    return min(places, key=lambda place: load[place])
