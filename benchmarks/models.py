"""What inference alone costs: device x runtime x precision x input size, and how far scores drift from fp32.

`python -m benchmarks.models [--seconds 2]`

As many requests at once as the runtime likes, on frames of the crowd clip. Drift is the mean difference of the scores
of boxes that both find.
"""

from __future__ import annotations

import ast
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import torch
import typer
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.clips import clip, data_folder
from benchmarks.harness import save
from inference.config import DetectorConfig
from inference.cost import saturate
from inference.errors import ModelError
from inference.heads import load_head
from inference.letterbox import Letterbox
from inference.model import weights_hash
from inference.runtimes import Runtime, load_runtime
from inference.runtimes.torch_export import exported
from inference.sidecar import sidecar_path

SIZES = (320, 416, 640)
# Device, runtime, precision; the first is what the others' scores are compared with.
ON_CPU = [("cpu", "openvino", precision) for precision in ("fp32", "bf16", "fp16", "int8")] + [
    ("cpu", "onnx", "fp32"), ("cpu", "torch", "fp32"), ("cpu", "torch", "bf16"),
]  # fmt: skip
ON_GPU = [("cuda", runtime, precision) for runtime in ("torch", "tensorrt") for precision in ("fp32", "bf16", "fp16")]
DRIFT_FRAMES = 5
BOX_TOLERANCE_PX = 4.0

Slots = list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Row:
    """One combination; times are of a single call while all cores are busy."""

    device: str
    runtime: str
    precision: str
    input: str
    batch: int
    fps: float
    p50_ms: float
    p99_ms: float
    score_drift: float


def slots(image_size: int, runtime: Runtime) -> Slots:
    """Frames of the clip, letterboxed."""
    made: Slots = []
    with av.open(str(clip("crowd"))) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 50 == 0:
                box = Letterbox.fit(frame.width, frame.height, image_size, runtime.info.input)
                made.append(np.empty((box.height, box.width, 3), np.uint8))
                box.apply(frame.to_ndarray(format="bgr24"), made[-1])
    return made[:DRIFT_FRAMES]


def as_onnx(weights: Path) -> Path:
    """The weights as an ONNX file with a sidecar, for runtimes that read no .pt files."""
    file, metadata = exported(weights, weights_hash(weights), "fp32")
    names = list(ast.literal_eval(metadata["names"]).values())
    sidecar = {"head": "yolo", "names": names, "stride": int(metadata["stride"])}
    sidecar_path(file).write_text(yaml.safe_dump(sidecar))
    return file


def timed(runtime: Runtime, slot: NDArray[np.uint8], seconds: float) -> tuple[float, list[float]]:
    """Frames per second of all requests together, and the seconds that each call took."""
    began = time.monotonic()
    calls = saturate(runtime, [slot] * runtime.max_batch, seconds)
    return len(calls) * runtime.max_batch / (time.monotonic() - began), calls


def detections(runtime: Runtime, pictures: Slots) -> list[NDArray[np.float32]]:
    head = load_head(runtime.info, 0.25, 0.7, None, 300)
    height, width = pictures[0].shape[:2]
    return [head.decode([output[0] for output in runtime.infer([picture])], height, width).rows for picture in pictures]


def drift(found: list[NDArray[np.float32]], reference: list[NDArray[np.float32]]) -> float:
    """Mean absolute difference of the scores of boxes that both found."""
    differences = []
    for rows, expected in zip(found, reference, strict=True):
        for row in expected:
            twins = rows[(rows[:, 5] == row[5]) & (np.abs(rows[:, :4] - row[:4]).max(axis=1) < BOX_TOLERANCE_PX)]
            differences += [float(np.abs(twins[:, 4] - row[4]).min())] if len(twins) else []
    return statistics.fmean(differences) if differences else float("nan")


def measure(weights: Path, seconds: float) -> list[Row]:
    rows, refused = [], set()
    combinations = ON_CPU + (ON_GPU if torch.cuda.is_available() else [])
    for image_size in SIZES:
        reference = None
        for device, name, precision in track(combinations, f"{image_size} px", transient=True):
            try:
                config = DetectorConfig.model_validate({
                    "runtime": name, "precision": precision, "image_size": image_size, "device": device,
                    "calibration": data_folder() / "images" / "coco128" / "images",
                })  # fmt: skip
                runtime = load_runtime(as_onnx(weights) if name == "onnx" else weights, config)
            except ModelError as error:
                refused.add(f"{name} {precision}: {error}")
                continue
            pictures = slots(image_size, runtime)
            height, width = pictures[0].shape[:2]
            runtime.prepare(height, width)
            found = detections(runtime, pictures)
            reference = reference or found  # the first is openvino at fp32
            timed(runtime, pictures[0], 0.3)
            fps, calls = timed(runtime, pictures[0], seconds)
            p50, p99 = np.percentile(np.array(calls) * 1e3, [50, 99]).tolist()
            rows.append(Row(
                device, name, runtime.info.precision, f"{width}x{height}", runtime.max_batch, round(fps, 1),
                round(p50, 1), round(p99, 1), round(drift(found, reference), 4),
            ))  # fmt: skip
    for reason in sorted(refused):
        Console(stderr=True).print(reason)
    return rows


def main(seconds: Annotated[float, typer.Option(help="How long each combination is measured.")] = 2.0) -> None:
    rows = measure(data_folder() / "weights" / "yolov8n.pt", seconds)
    table = Table("device", "runtime", "precision", "input", "batch", "fps", "p50 ms", "p99 ms", "score drift")
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    Console(width=100).print(table)
    Console().print(f"written to {save('models', {'rows': [asdict(row) for row in rows]})}")


if __name__ == "__main__":
    typer.run(main)
