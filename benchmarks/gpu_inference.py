"""Inference alone on the GPU: frames a second by batch, precision and runtime; and whether it computes as it should.

Each measurement runs in a process of its own, which is this module: what breaks CUDA in one leaves the others alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.harness import ROOT
from inference.config import DetectorConfig
from inference.heads import load_head
from inference.letterbox import Letterbox
from inference.runtimes import Runtime, blank_picture, detect_on_device, load_runtime
from ingest.clock import Clock
from ingest.config import SourceConfig
from ingest.device_frame import DeviceFrame
from ingest.shrink import Shrinker
from ingest.sources import open_source
from ingest.sources.nvdec import hold_gpu

IMAGE_SIZE = 640
CONFIDENCE = 0.25
PIXELS, SCORE = 1.0, 0.02
MEAN_LEVELS, P99_LEVELS = 1.5, 6.0


def config_of(model: Path, device: str, runtime: str, precision: str) -> DetectorConfig:
    return DetectorConfig.model_validate({
        "model": str(model), "device": device, "runtime": runtime, "precision": precision, "image_size": IMAGE_SIZE,
    })  # fmt: skip


def throughput(model: Path, device: str, runtime: str, precision: str, seconds: float) -> dict[str, Any]:
    """By batch size: frames a second with as many threads as the runtime serves, and the milliseconds of a batch."""
    began = time.perf_counter()
    loaded = load_runtime(model, config_of(model, device, runtime, precision))
    height, width = 384, IMAGE_SIZE  # 16:9
    loaded.prepare(height, width)
    result: dict[str, Any] = {
        "runtime": runtime, "precision": loaded.info.precision, "device": loaded.info.device,
        "prepared_s": round(time.perf_counter() - began, 1), "parallel": loaded.parallel, "batches": {},
    }  # fmt: skip
    size = 1
    while size <= loaded.max_batch:
        result["batches"][str(size)] = _rate(loaded, size, height, width, seconds)
        size *= 2
    result["best_fps"] = max(batch["fps"] for batch in result["batches"].values())
    return result


def _rate(runtime: Runtime, batch: int, height: int, width: int, seconds: float) -> dict[str, float]:
    pictures = [blank_picture(runtime, height, width)] * batch
    times: list[float] = []
    errors: list[Exception] = []
    ends = time.perf_counter() + seconds

    def work() -> None:
        try:
            while (began := time.perf_counter()) < ends:
                if detect_on_device(runtime, pictures) is None:
                    runtime.infer(pictures)
                times.append(time.perf_counter() - began)
        except Exception as error:  # raised where it is awaited
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(runtime.parallel)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    elapsed = time.perf_counter() - began
    return {"fps": round(len(times) * batch / elapsed, 1), "batch_ms": round(statistics.median(times) * 1e3, 2)}


def check_boxes(model: Path, clip: Path, device: str, precision: str) -> dict[str, Any]:
    """The boxes of the first frame on the device and, at fp32, on the CPU; raises where they are apart."""
    with open_source(SourceConfig(url=str(clip))) as source:
        image = next(source.frames())
    box, slot = on_host(image)
    rows = {}
    kind = "torch" if model.suffix == ".pt" else "onnx"
    for name, config in {
        "cpu": config_of(model, "cpu", kind, "fp32"), "device": config_of(model, device, kind, precision)
    }.items():  # fmt: skip
        runtime = load_runtime(model, config)
        runtime.prepare(box.height, box.width)
        head = load_head(runtime.info, CONFIDENCE, config.iou, None, config.max_detections)
        found = detect_on_device(runtime, [slot])
        if found is None:
            found = [head.decode([output[0] for output in runtime.infer([slot])], box.height, box.width)]
        rows[name] = found[0].rows
    ours, theirs = rows["device"], rows["cpu"]
    # Scores at the threshold may fall on either side of it.
    sure = theirs[theirs[:, 4] > CONFIDENCE + SCORE]
    pairs = [(row, ours[np.abs(ours[:, :4] - row[:4]).max(1).argmin()]) for row in sure] if len(ours) else []
    if not len(sure) or len(pairs) != len(sure):
        raise RuntimeError(f"{len(ours)} boxes on the device, {len(theirs)} on the CPU")
    pixels = max(float(np.abs(a[:4] - b[:4]).max()) for a, b in pairs)
    score = max(float(abs(a[4] - b[4])) for a, b in pairs)
    if pixels > PIXELS or score > SCORE or any(a[5] != b[5] for a, b in pairs):
        raise RuntimeError(f"boxes are up to {pixels:.2f} px and {score:.3f} apart")
    return {"boxes": len(sure), "most_px": round(pixels, 3), "most_score": round(score, 4)}


def check_frames(clip: Path, gpu: int) -> dict[str, Any]:
    """The first frames decoded and letterboxed by the GPU, against the CPU's; raises where they are apart."""
    if reason := hold_gpu(gpu):  # before PyTorch starts CUDA
        raise RuntimeError(reason)
    import torch

    from inference.preprocess_cuda import Colors, DeviceLetterboxer, Samples, fit_by_torch

    device = torch.device("cuda", gpu)
    letterboxer = DeviceLetterboxer(device)
    mean, p99, exact = [], [], 0
    with open_source(SourceConfig(url=str(clip), decoder="nvdec"), gpu) as source, open_source(
        SourceConfig(url=str(clip), decoder="cpu")
    ) as host:  # fmt: skip
        for number, (ours, theirs) in enumerate(zip(source.frames(), host.frames(), strict=False)):
            if source.fallback:
                raise RuntimeError(source.fallback)
            box, slot = on_host(theirs)
            frame = DeviceFrame("bench", 0, number, 0, 0, 0, Clock.ARRIVAL, None, ours)
            out, reference = (torch.empty((box.height, box.width, 3), dtype=torch.uint8, device=device) for _ in "ab")
            letterboxer.apply(frame, box, out)
            colors, samples = Colors.of(frame), Samples.of(box, device)
            frame.shrink_on_device(partial(fit_by_torch, colors=colors, samples=samples, letterbox=box, out=reference),
                                   reference, box.place)  # fmt: skip
            torch.cuda.synchronize(device)
            exact += bool(torch.equal(out, reference))
            apart = np.abs(out.cpu().numpy().astype(np.int16) - slot)
            mean.append(float(apart.mean()))
            p99.append(float(np.percentile(apart, 99)))
            if number == 4:
                break
    if max(mean) > MEAN_LEVELS or max(p99) > P99_LEVELS or exact != len(mean):
        raise RuntimeError(f"levels apart: mean {mean}, 99% {p99}; {exact} of {len(mean)} frames as the reference")
    name = letterboxer._fit.__name__
    return {"frames": len(mean), "mean_levels": round(max(mean), 3), "p99_levels": max(p99), "kernel": name}


def on_host(image: av.VideoFrame) -> tuple[Letterbox, np.ndarray]:
    box = Letterbox.fit(image.width, image.height, IMAGE_SIZE)
    slot = np.empty((box.height, box.width, 3), np.uint8)
    Shrinker().shrink(image, slot, box.place)
    box.pad(slot)
    return box, slot


def candidates(model: Path, device: str) -> list[tuple[str, str]]:
    """Runtimes and precisions that could compute this file there; those that cannot are told when they are tried."""
    if device == "cpu":
        return [("torch", "fp32")] if model.suffix == ".pt" else [("onnx", "auto")]
    torch_runs = [("torch", "fp16"), ("torch", "bf16"), ("torch", "fp32")] if model.suffix == ".pt" else []
    return [*torch_runs, ("tensorrt", "fp16"), *([("onnx", "auto")] if model.suffix == ".onnx" else [])]


# -- processes of their own


def alone(do: str, timeout_s: float, **arguments: Any) -> Any:
    """The result of one of `TASKS` in a new process.

    Raises:
        RuntimeError: it failed, or did not end in time.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_inference", json.dumps({"do": do, **arguments}, default=str)]
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{do} did not end within {timeout_s:.0f} s") from None
    lines = ended.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith(ANSWER):
        raise RuntimeError(f"{do} ended with exit code {ended.returncode} and without an answer")
    answer = json.loads(lines[-1].removeprefix(ANSWER))
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["result"]


def gpu_environment(gpu: int) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(gpu)
    return {
        "gpu": properties.name, "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}", "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip


ANSWER = "answer: "
TASKS = {
    "environment": gpu_environment, "frames": check_frames, "boxes": check_boxes, "throughput": throughput,
}  # fmt: skip
PATHS = ("model", "clip")


def main() -> None:
    task = json.loads(sys.argv[1])
    do = task.pop("do")
    arguments = {name: Path(value) if name in PATHS else value for name, value in task.items()}
    try:
        answer = {"result": TASKS[do](**arguments)}
    except Exception as error:  # told to the process that asked
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(ANSWER + json.dumps(answer), flush=True)
    os._exit(0)  # what is left on the GPU goes with the process


if __name__ == "__main__":
    main()
