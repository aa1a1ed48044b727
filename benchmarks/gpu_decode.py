"""How many frames a second are decoded, and letterboxed on the GPU, when nothing else is done.

Streams are threads of as many processes as there are cores, as the service's are; each process is this module, started
with a task as JSON: it says `ready` when its sources are open, begins at a line on its input and ends with its count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT
from ingest.clock import Clock
from ingest.config import SourceConfig
from ingest.device_frame import DeviceFrame, is_on_device
from ingest.sources import open_source
from ingest.sources.nvdec import hold_gpu

OPEN_S = 120.0


def measure(clip: Path, streams: int, seconds: float, gpu: int | None, letterbox: bool) -> dict[str, Any]:
    """Frames a second of `streams` sources together, on GPU number `gpu` or (None) on the CPU."""
    count = min(streams, len(os.sched_getaffinity(0)))
    shares = [streams // count + (index < streams % count) for index in range(count)]
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_decode", json.dumps({
                "clip": str(clip), "streams": share, "seconds": seconds, "gpu": gpu, "letterbox": letterbox,
            })], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for share in shares
    ]  # fmt: skip
    timer = threading.Timer(OPEN_S + 2 * seconds, lambda: [child.kill() for child in children])
    timer.start()
    try:
        for child in children:
            assert child.stdout is not None
            if child.stdout.readline().strip() != "ready":
                raise RuntimeError("a decoding process ended before it began; its words are above")
        results = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            answer, _ = child.communicate()
            results.append(json.loads(answer))
    finally:
        timer.cancel()
        for child in children:
            child.kill()
    reasons = sorted({reason for result in results for reason in result["fallbacks"]})
    return {
        "streams": streams,
        "processes": count,
        "fps": round(sum(result["frames"] / result["seconds"] for result in results), 1),
        "on_gpu": sum(result["on_gpu"] for result in results),
        "errors": [error for result in results for error in result["errors"]][:5],
        "fallbacks": reasons,
    }


class _Stream:
    """One source, read until the end of the measurement."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.frames = 0
        self.fallback: str | None = None
        self.error: str | None = None
        self.on_gpu = False
        self.opened = threading.Event()
        self._task = task

    def run(self, begin: threading.Event, ends: list[float]) -> None:
        try:
            self._read(begin, ends)
        except Exception as error:  # told with the figures; the other streams go on
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.opened.set()

    def _read(self, begin: threading.Event, ends: list[float]) -> None:
        gpu = self._task["gpu"]
        config = SourceConfig(url=self._task["clip"], loop=True, pace="fast", decoder="cpu" if gpu is None else "nvdec")
        fit = _letterboxed(gpu) if self._task["letterbox"] else None
        with open_source(config, gpu) as source:
            for image in source.frames():
                if not self.opened.is_set():
                    self.fallback, self.on_gpu = source.fallback, is_on_device(image)
                    self.opened.set()
                    begin.wait()
                    continue
                if fit is not None:
                    fit(DeviceFrame("bench", 0, 0, 0, 0, 0, Clock.ARRIVAL, None, image))
                if time.monotonic() > ends[0]:
                    return
                self.frames += 1


def _letterboxed(gpu: int) -> Any:
    import torch

    from inference.letterbox import Letterbox
    from inference.preprocess_cuda import DeviceLetterboxer

    device = torch.device("cuda", gpu)
    letterboxer = DeviceLetterboxer(device)
    memory = torch.empty(640 * 640 * 3, dtype=torch.uint8, device=device)

    def fit(frame: DeviceFrame) -> None:
        box = Letterbox.fit(frame.width, frame.height, 640)
        letterboxer.apply(frame, box, memory[: box.height * box.width * 3].view(box.height, box.width, 3))

    return fit


def main() -> None:
    task = json.loads(sys.argv[1])
    if task["gpu"] is not None:
        hold_gpu(task["gpu"])  # before PyTorch
    if task["letterbox"]:
        import torch

        from inference import preprocess_cuda

        preprocess_cuda.prepare(torch.device("cuda", task["gpu"]))
    begin, ends = threading.Event(), [0.0]
    streams = [_Stream(task) for _ in range(task["streams"])]
    threads = [threading.Thread(target=stream.run, args=(begin, ends), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    for stream in streams:
        stream.opened.wait(OPEN_S)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    ends[0] = began + task["seconds"]
    begin.set()
    for thread in threads:
        thread.join(task["seconds"] + 10)
    print(json.dumps({
        "frames": sum(stream.frames for stream in streams),
        "seconds": time.monotonic() - began,
        "on_gpu": sum(stream.on_gpu for stream in streams),
        "errors": [stream.error for stream in streams if stream.error],
        "fallbacks": [stream.fallback for stream in streams if stream.fallback],
    }), flush=True)  # fmt: skip
    os._exit(0)  # a decoder may hang; what matters has been said


if __name__ == "__main__":
    main()
