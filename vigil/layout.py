"""Which processes a config calls for: a detector for each model and device in use, and workers for the streams of each.

A worker's streams all go to one detector, so that it has one link and one ring.
"""

from __future__ import annotations

from dataclasses import dataclass

from inference.config import DetectorConfig
from inference.model import ModelInfo
from vigil.child import Child
from vigil.config import VigilConfig


@dataclass(slots=True, eq=False)
class DetectorPlace:
    """A detector's place, and the process that has it at present.

    `config` is what that process is told: weak boxes, which only the trackers want, are asked for too. `confidence` is
    the least score that users want reported.
    """

    name: str
    config: DetectorConfig
    confidence: float
    child: Child | None = None
    model: ModelInfo | None = None
    restarts: int = 0

    @property
    def ready(self) -> bool:
        return self.child is not None and self.child.ready.is_set() and not self.child.ended.is_set()


@dataclass(slots=True, eq=False)
class Shard:
    """A worker's place: its streams and their detector, and the process that has them at present."""

    name: str
    streams: list[str]
    detector: DetectorPlace
    child: Child | None = None
    restarts: int = 0


def lay_out(config: VigilConfig) -> tuple[list[DetectorPlace], list[Shard]]:
    """The places of a service; detectors that no stream names get none."""
    places: list[DetectorPlace] = []
    shards: list[Shard] = []
    size = config.workers.streams_per_worker
    by_detector: dict[str | None, list[str]] = {}
    for name, stream in config.streams.items():
        by_detector.setdefault(stream.detector, []).append(name)
    for detector, streams in by_detector.items():
        ours = _places(config, detector, streams)
        places += ours
        workers = -(-len(streams) // size)
        workers += -workers % len(ours)  # as many for each device
        each = -(-len(streams) // workers)
        for start in range(0, len(streams), each):
            place = ours[start // each % len(ours)]
            shards.append(Shard(f"worker-{len(shards)}", streams[start : start + each], place))
    return places, shards


def _places(config: VigilConfig, detector: str | None, streams: list[str]) -> list[DetectorPlace]:
    settings = config.detector_of(streams[0])
    weakest = min(config.tracker_of(name).low_confidence for name in streams)
    told = settings.model_copy(update={"confidence": min(weakest, settings.confidence)})
    name = f"detector-{detector}" if detector else "detector"
    if not settings.devices:
        return [DetectorPlace(name, told, settings.confidence)]
    on_each = [(device, told.model_copy(update={"device": device, "devices": None})) for device in settings.devices]
    return [DetectorPlace(f"{name}@{device}", own, settings.confidence) for device, own in on_each]
