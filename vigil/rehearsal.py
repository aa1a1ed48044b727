"""Measures what `vigil plan` reckons with: each stage alone, then the whole service for a few seconds."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import av
import numpy as np

from inference.config import DetectorConfig
from inference.cost import saturate
from inference.letterbox import Letterbox
from inference.model import find_model
from inference.runtimes import Runtime, blank_picture, load_runtime
from ingest.errors import Reason, SourceError
from ingest.scene import SCENES, encoded
from ingest.shrink import Shrinker
from ingest.sources import open_source
from publish.config import HttpConfig, NatsConfig
from vigil.config import StreamConfig, VigilConfig
from vigil.metrics import Usage
from vigil.plan import StreamCosts
from vigil.service import Service

PROBE_FRAMES = 60
LETTERBOX_RUNS = 30
INFER_S = 2.0
SAMPLE_S = 3
POLL_S = 0.05
# Models are made ready for the cameras' sizes with their first frames, which is not what it costs from then on.
BEGUN_WITHIN_S = 30.0
SETTLE_S = 2.0
TOLD_WITHIN_S = 2.0
REHEARSE_S = 8.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What the machine showed.

    Attributes:
        streams: the costs of every stream that answered.
        rest_s: CPU seconds for each analysed frame beyond the stages measured alone.
        silent: why the others did not, by stream.
    """

    streams: list[StreamCosts]
    rest_s: float
    silent: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a source sends: its last frame, rate and CPU seconds to decode a frame."""

    frame: av.VideoFrame
    description: str
    fps: float
    decode_s: float


def measure(config: VigilConfig, tell: Callable[[str], None]) -> Measured:
    """Opens every stream of the config once, loads its models, and runs it for some seconds; `tell` hears of progress.

    Raises:
        VigilError: a model cannot be loaded, the service cannot start, or not one stream answers.
    """
    tell(f"opening {len(config.streams)} streams")
    with ThreadPoolExecutor(cores()) as pool:  # as many at once as there are cores: decoders share caches
        results = dict(zip(config.streams, pool.map(_sample, config.streams.values()), strict=True))
    samples = {name: result for name, result in results.items() if isinstance(result, _Sample)}
    silent = {name: str(result) for name, result in results.items() if not isinstance(result, _Sample)}
    if not samples:
        raise SourceError(Reason.NO_VIDEO, f"not one stream answers: {'; '.join(silent.values())}")
    streams = []
    runtimes: dict[str | None, Runtime] = {}
    inferred: dict[tuple[str | None, int, int], tuple[float, float]] = {}
    for name, sample in samples.items():
        stream, settings = config.streams[name], config.detector_of(name)
        runtime = runtimes.get(stream.detector)
        if runtime is None:
            path, _ = find_model(settings.model)
            tell(f"measuring {path.name}")
            runtime = runtimes[stream.detector] = load_runtime(path, settings)
        box = Letterbox.fit(sample.frame.width, sample.frame.height, settings.image_size, runtime.info.input)
        key = (stream.detector, box.height, box.width)
        if key not in inferred:
            inferred[key] = _infer_s(runtime, box)
        infer_s, device_s = inferred[key]
        on_gpu = runtime.info.device != "cpu"
        fps = sample.fps
        streams.append(StreamCosts(
            name, sample.description, fps, min(fps, stream.fps or fps), sample.decode_s, _letterbox_s(sample, box),
            infer_s, runtime.info.device, device_s if on_gpu else 0.0,
        ))  # fmt: skip
    runtimes.clear()
    tell(f"running all of it for {SETTLE_S + REHEARSE_S:.0f} s, once it has begun")
    only = config.model_copy(update={"streams": {name: config.streams[name] for name in samples}})
    return Measured(streams, asyncio.run(_rest_s(only, streams)), silent)


def samples(width: int, height: int, fps: int, model: str, folder: Path) -> VigilConfig:
    """A config of demo views of this size, read as fast as they go: twice as many as cores, so that none is idle."""
    views = [replace(scene, width=width, height=height, fps=fps, seconds=SAMPLE_S) for scene in SCENES[:2]]
    files = [encoded(view, folder) for view in views]
    streams = {
        f"{views[n % 2].name}-{n}": StreamConfig(url=str(files[n % 2]), loop=True, pace="fast", on_full="block")
        for n in range(2 * cores())
    }
    return VigilConfig(site="plan", detector=DetectorConfig(model=model), streams=streams)


def rated(streams: list[StreamCosts], count: int, fps: float | None) -> list[StreamCosts]:
    """`count` streams such as these, in turn, of which `fps` frames a second are analysed (None: all)."""
    many = [streams[n % len(streams)] for n in range(count)]
    return [
        replace(one, name=f"{one.name}-{n}", analysed_fps=min(fps or one.decoded_fps, one.decoded_fps))
        for n, one in enumerate(many)
    ]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def _sample(config: StreamConfig) -> _Sample | str:
    try:
        with open_source(config.model_copy(update={"loop": False})) as source:
            began = time.thread_time()
            last = deque(enumerate(islice(source.frames(), PROBE_FRAMES), 1), maxlen=1)
            if not last:
                return "not one frame could be decoded"
            frames, frame = last.pop()
            decode_s = (time.thread_time() - began) / frames
            return _Sample(frame, source.description, source.frame_rate or 25.0, decode_s)
    except SourceError as error:
        return f"{error.reason.value}: {error.detail}"


def _letterbox_s(sample: _Sample, box: Letterbox) -> float:
    picture = np.empty((box.height, box.width, 3), np.uint8)
    shrinker = Shrinker()
    shrinker.shrink(sample.frame, picture, box.place)
    began = time.process_time()
    for _ in range(LETTERBOX_RUNS):
        shrinker.shrink(sample.frame, picture, box.place)
    return (time.process_time() - began) / LETTERBOX_RUNS


def _infer_s(runtime: Runtime, box: Letterbox) -> tuple[float, float]:
    """CPU seconds and device seconds a frame, with as many requests under way as the runtime likes."""
    runtime.prepare(box.height, box.width)
    pictures = [blank_picture(runtime, box.height, box.width)] * runtime.max_batch
    saturate(runtime, pictures, INFER_S / 4)  # warm
    wall, used = time.monotonic(), time.process_time()
    frames = len(saturate(runtime, pictures, INFER_S)) * len(pictures)
    return (time.process_time() - used) / frames, (time.monotonic() - wall) / frames


async def _rest_s(config: VigilConfig, streams: list[StreamCosts]) -> float:
    """Runs the service in a folder of its own and compares its CPU time with that of the stages."""
    with tempfile.TemporaryDirectory(prefix="vigil-plan-") as folder:
        update = {"state_dir": Path(folder), "nats": NatsConfig(), "http": HttpConfig(enabled=False)}
        service = Service(config.model_copy(update=update))
        stop = asyncio.Event()
        serving = asyncio.create_task(service.run(stop))
        started = asyncio.create_task(service.started.wait())
        try:
            await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                await serving
            with suppress(TimeoutError):  # a stream whose share is that small has none that matters
                async with asyncio.timeout(BEGUN_WITHIN_S):
                    while not all(_frames(service)[f"{name} analysed"] for name in service.streams):
                        await asyncio.sleep(POLL_S)
            await asyncio.sleep(SETTLE_S)
            before, used_before = await _told(service)
            await asyncio.sleep(REHEARSE_S)
            after, used_after = await _told(service)
        finally:
            started.cancel()
            stop.set()
            await asyncio.gather(serving, return_exceptions=True)
    frames, used = {name: count - before[name] for name, count in after.items()}, used_after - used_before
    for stream in streams:
        used -= frames[f"{stream.name} decoded"] * stream.decode_s
        used -= frames[f"{stream.name} analysed"] * (stream.letterbox_s + stream.infer_s)
    analysed = sum(frames[f"{stream.name} analysed"] for stream in streams)
    return max(0.0, used / analysed) if analysed else 0.0


async def _told(service: Service) -> tuple[dict[str, float], float]:
    """Frames, and CPU seconds, when workers tell: that is once a second, so at any other time frames are too few."""
    before, ends = _frames(service), time.monotonic() + TOLD_WITHIN_S
    while (frames := _frames(service)) == before and time.monotonic() < ends:
        await asyncio.sleep(POLL_S)
    return frames, _cpu_s(service)


def _frames(service: Service) -> dict[str, float]:
    """Frames so far, by stream and outcome."""
    return {
        f"{name} {outcome}": service.metrics.value("vigil_frames_total", stream=name, outcome=outcome)
        for name in service.streams for outcome in ("decoded", "analysed")
    }  # fmt: skip


def _cpu_s(service: Service) -> float:
    """CPU seconds of all the service's processes; this one's are among them."""
    usages = [Usage.of(pid) for pid in service.pids().values()]
    return sum(usage.cpu_s for usage in usages if usage is not None)
