"""What the machine can do at most: decoding alone and inference alone, each with every core busy, and both in turns."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import av
import numpy as np

from benchmarks.harness import ROOT, cores
from inference.config import DetectorConfig
from inference.cost import saturate
from inference.letterbox import Letterbox
from inference.runtimes import Picture, Runtime, load_runtime
from ingest.shrink import Shrinker

DECODE_S = 2.0
INFER_S = 2.5
WARM_S = 1.0
TURNS_S = 3.0


@dataclass(frozen=True, slots=True)
class Limit:
    """CPU seconds per frame of what cannot be avoided.

    Attributes:
        decode_s, infer_s: each alone, so that all caches are its own.
        turns_s: a picture is decoded, resized and inferred, then the next stream's: what remains of a service that has
            neither processes nor queues, and tracks, publishes and counts nothing.
    """

    decode_s: float
    infer_s: float
    turns_s: float

    @property
    def fps(self) -> float:
        return cores() / (self.decode_s + self.infer_s)

    @property
    def turns_fps(self) -> float:
        return cores() / self.turns_s


def between(before: Limit, after: Limit) -> Limit:
    """The mean of both, for what was measured in between: a shared machine's speed changes within a minute."""
    pairs = zip(astuple(before), astuple(after), strict=True)
    return Limit(*((one + other) / 2 for one, other in pairs))


def measure(clips: list[Path], config: DetectorConfig, streams: int) -> Limit:
    """The limit for so many streams that play `clips` in equal parts, analysed by the model of `config`."""
    runtime = load_runtime(Path(config.model), config)
    box = _fitted(clips[0], config, runtime)
    runtime.prepare(box.height, box.width)
    return Limit(decode_cpu_s(clips), _infer_cpu_s(runtime, box, clips[0]), _turns_cpu_s(runtime, box, clips, streams))


def decode_cpu_s(clips: list[Path]) -> float:
    """Mean CPU seconds to demux and decode a frame on one thread, while every core does the same."""
    per_clip = []
    for clip in clips:
        children = [
            subprocess.Popen([sys.executable, "-m", "benchmarks.limit", str(clip)], stdout=subprocess.PIPE, cwd=ROOT)
            for _ in range(cores())
        ]
        per_clip.append(float(np.mean([float(child.communicate()[0]) for child in children])))
    return float(np.mean(per_clip))


def _decode(clip: str) -> float:
    began = time.thread_time()
    for count, _ in enumerate(_frames(Path(clip)), 1):
        if (used := time.thread_time() - began) > DECODE_S:
            return used / count
    raise AssertionError("the frames never end")


def _fitted(clip: Path, config: DetectorConfig, runtime: Runtime) -> Letterbox:
    with av.open(str(clip)) as container:
        size = container.streams.video[0]
        return Letterbox.fit(size.width, size.height, config.image_size, runtime.info.input)


def _infer_cpu_s(runtime: Runtime, box: Letterbox, clip: Path) -> float:
    """Mean CPU seconds to infer a frame of the clip, with as many requests at once as the runtime likes."""
    slot = np.empty((box.height, box.width, 3), np.uint8)
    box.apply(next(_frames(clip)).to_ndarray(format="bgr24"), slot)
    pictures: list[Picture] = [slot] * runtime.max_batch
    saturate(runtime, pictures, 0.5)
    began = time.process_time()
    frames = len(saturate(runtime, pictures, INFER_S)) * len(pictures)
    return (time.process_time() - began) / frames


def _turns_cpu_s(runtime: Runtime, box: Letterbox, clips: list[Path], streams: int) -> float:
    """Mean CPU seconds to decode, resize and infer a frame, one stream after the other, on every core."""
    over = threading.Event()
    done = [0] * min(cores(), streams)

    def work(index: int) -> None:
        own = [_frames(clips[n % len(clips)]) for n in range(index, streams, len(done))]
        slot, shrinker = np.empty((box.height, box.width, 3), np.uint8), Shrinker()
        box.pad(slot)
        for frames in itertools.cycle(own):
            if over.is_set():
                return
            shrinker.shrink(next(frames), slot, box.place)
            runtime.infer([slot] * runtime.max_batch)
            done[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(done))]
    for thread in threads:
        thread.start()
    time.sleep(WARM_S)
    began, before = time.process_time(), sum(done)
    time.sleep(TURNS_S)
    used, frames = time.process_time() - began, sum(done) - before
    over.set()
    for thread in threads:
        thread.join()
    return used / frames


def _frames(clip: Path) -> Iterator[av.VideoFrame]:
    """The clip's pictures, again and again, decoded in the thread that asks for them."""
    while True:
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            yield from container.decode(stream)


if __name__ == "__main__":
    print(_decode(sys.argv[1]))
