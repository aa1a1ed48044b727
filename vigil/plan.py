"""Whether the cameras fit the machine: from what a frame costs at each stage to what is short first, and the mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# A machine that is busier than this has no room for the moments in which everything comes at once.
COMFORTABLE = 0.9


@dataclass(frozen=True, slots=True)
class StreamCosts:
    """What one stream sends and what its frames cost, in seconds of a core.

    Attributes:
        description: codec, size and rate.
        decoded_fps, analysed_fps: frames a second that arrive, and that are asked to be analysed.
        decode_s: for each decoded frame.
        letterbox_s, infer_s: for each analysed frame.
        device: what infers, `cpu` or a GPU.
        device_s: seconds of that GPU for each analysed frame; 0 on a CPU.
    """

    name: str
    description: str
    decoded_fps: float
    analysed_fps: float
    decode_s: float
    letterbox_s: float
    infer_s: float
    device: str = "cpu"
    device_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """`seconds` a frame, mean over the streams; `cores`: what all frames of a second take."""

    name: str
    seconds: float
    frames_per_second: float
    cores: float


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that there is only so much of: cores, or one GPU's time."""

    name: str
    used: float
    available: float

    @property
    def utilisation(self) -> float:
        return self.used / self.available


@dataclass(frozen=True, slots=True)
class Plan:
    """What a set of streams asks of a machine.

    Attributes:
        bottleneck: the resource that is short first.
        heaviest: the stage that takes most of the cores.
        capacity_fps: analysed frames a second that the machine can do in all, with these streams decoded.
        fitting_streams: how many streams like these it can serve comfortably.
        fitting_fps: the analysed rate of each stream at which all of them fit; None when even decoding them does not.
        advice: what to change, most useful first; empty when it fits.
    """

    streams: int
    stages: tuple[Stage, ...]
    resources: tuple[Resource, ...]
    bottleneck: str
    heaviest: str
    utilisation: float
    capacity_fps: float
    fitting_streams: int
    fitting_fps: float | None
    fits: bool
    advice: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        for resource, of in zip(told["resources"], self.resources, strict=True):
            resource["utilisation"] = of.utilisation
        return told


def plan(streams: Sequence[StreamCosts], rest_s: float, cores: int) -> Plan:
    """The plan for `streams` on `cores`, where everything but the stages measured costs `rest_s` an analysed frame."""
    decoded = sum(stream.decoded_fps for stream in streams)
    analysed = sum(stream.analysed_fps for stream in streams)
    stages = (
        _stage("decode", [(stream.decoded_fps, stream.decode_s) for stream in streams]),
        _stage("letterbox", [(stream.analysed_fps, stream.letterbox_s) for stream in streams]),
        _stage("infer", [(stream.analysed_fps, stream.infer_s) for stream in streams]),
        _stage("track, publish, the rest", [(analysed, rest_s)]),
    )
    devices = {stream.device for stream in streams if stream.device_s}
    resources = (
        Resource("cpu", sum(stage.cores for stage in stages), float(cores)),
        *(
            Resource(device, sum(s.analysed_fps * s.device_s for s in streams if s.device == device), 1.0)
            for device in sorted(devices)
        ),
    )
    shortest = max(resources, key=lambda resource: resource.utilisation)
    heaviest = max(stages, key=lambda stage: stage.cores)
    most_fps, fitting_fps = (analysed * _share(stages, resources, level) for level in (1.0, COMFORTABLE))
    each_fps = fitting_fps / len(streams) if fitting_fps else None
    fits = shortest.utilisation <= COMFORTABLE
    return Plan(
        streams=len(streams),
        stages=stages,
        resources=resources,
        bottleneck=shortest.name,
        heaviest=heaviest.name,
        utilisation=shortest.utilisation,
        capacity_fps=most_fps,
        fitting_streams=int(len(streams) * COMFORTABLE / shortest.utilisation + 1e-9),
        fitting_fps=each_fps,
        fits=fits,
        advice=() if fits else _advice(stages, shortest, each_fps, decoded, cores),
    )


def _stage(name: str, parts: list[tuple[float, float]]) -> Stage:
    rate = sum(fps for fps, _ in parts)
    used = sum(fps * seconds for fps, seconds in parts)
    return Stage(name, used / rate if rate else 0.0, rate, used)


def _share(stages: Sequence[Stage], resources: Sequence[Resource], level: float) -> float:
    """Which part, or multiple, of the frames can be analysed so that no resource is used beyond `level`; 0: none.

    Decoding costs the same however few of the frames are analysed; all else is in proportion.
    """
    shares = []
    for resource in resources:
        fixed = stages[0].cores if resource.name == "cpu" else 0.0
        shares.append((level * resource.available - fixed) / max(resource.used - fixed, 1e-9))
    return max(0.0, min(shares))


def _advice(
    stages: Sequence[Stage], shortest: Resource, fitting_fps: float | None, decoded: float, cores: int
) -> tuple[str, ...]:
    decode, _, infer, _ = stages
    advice = []
    if fitting_fps is not None:
        advice.append(f"analyse fewer frames: `fps: {fitting_fps:.2g}` for each stream fits")
    if shortest.name != "cpu":
        advice.append("a second GPU (`detector.devices`), a smaller `image_size`, or a smaller model")
        return tuple(advice)
    if infer.cores > 0.4 * shortest.used:
        advice.append("a smaller `image_size`: 480 instead of 640 costs about half of the inference")
        advice.append("a GPU, or a smaller model")
    if fitting_fps is None or decode.cores > 0.4 * shortest.used:
        advice.append(
            f"decode less: {decoded:.0f} frames a second are decoded, which takes {decode.cores:.1f} of {cores} cores; "
            "give the cameras' sub-stream (a quarter of the pixels costs about a quarter) or lower their frame rate"
        )
    return tuple(advice)
