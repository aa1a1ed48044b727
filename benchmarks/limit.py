"""What the machine can do at most: decoding alone and inference alone, each with every core busy."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from benchmarks.harness import ROOT, cores
from inference.config import DetectorConfig
from inference.cost import saturate
from inference.letterbox import Letterbox
from inference.runtimes import Picture, load_runtime

DECODE_S = 3.0
INFER_S = 4.0


@dataclass(frozen=True, slots=True)
class Limit:
    """CPU seconds per frame of the two things that cannot be avoided."""

    decode_s: float
    infer_s: float

    @property
    def fps(self) -> float:
        return cores() / (self.decode_s + self.infer_s)


def measure(clips: list[Path], config: DetectorConfig) -> Limit:
    """The limit for streams that play `clips` in equal parts, analysed by the model of `config`."""
    return Limit(decode_cpu_s(clips), infer_cpu_s(config, clips[0]))


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
    frames = 0
    began = time.thread_time()
    while time.thread_time() - began < DECODE_S:
        with av.open(clip) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            frames += sum(1 for _ in container.decode(stream))
    return (time.thread_time() - began) / frames


def infer_cpu_s(config: DetectorConfig, clip: Path) -> float:
    """Mean CPU seconds to infer a frame of the clip, with as many requests at once as the runtime likes."""
    runtime = load_runtime(Path(config.model), config)
    with av.open(str(clip)) as container:
        frame = next(container.decode(video=0))
    box = Letterbox.fit(frame.width, frame.height, config.image_size, runtime.info.input)
    slot = np.empty((box.height, box.width, 3), np.uint8)
    box.apply(frame.to_ndarray(format="bgr24"), slot)
    runtime.prepare(box.height, box.width)
    pictures: list[Picture] = [slot] * runtime.max_batch
    saturate(runtime, pictures, 0.5)
    began = time.process_time()
    frames = len(saturate(runtime, pictures, INFER_S)) * len(pictures)
    return (time.process_time() - began) / frames


if __name__ == "__main__":
    print(_decode(sys.argv[1]))
