"""What inference alone costs: `vigil bench` of YOLOv8n, with the runtimes that are slower on a CPU as well.

`python -m benchmarks.models [--seconds 2]`
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
import yaml
from rich.console import Console

from benchmarks.clips import data_folder
from benchmarks.harness import save
from inference.model import weights_hash
from inference.runtimes.torch_export import exported
from inference.sidecar import sidecar_path
from vigil import bench_report
from vigil.bench import SIZES, Measured, Refused, Way, bench
from vigil.plan_report import progress

# The first is what the others are compared with.
ON_CPU = [Way("cpu", "openvino", precision) for precision in ("fp32", "bf16", "fp16", "int8")] + [
    Way("cpu", "torch", "fp32"), Way("cpu", "torch", "bf16"),
]  # fmt: skip
ON_GPU = [Way("cuda", name, precision) for name in ("torch", "tensorrt") for precision in ("fp32", "bf16", "fp16")]
AS_ONNX = [Way("cpu", "openvino", "fp32"), Way("cpu", "onnx", "fp32")]


def as_onnx(weights: Path) -> Path:
    """The weights as an ONNX file with a sidecar, for runtimes that read no .pt files."""
    file, metadata = exported(weights, weights_hash(weights), "fp32")
    names = list(ast.literal_eval(metadata["names"]).values())
    sidecar = {"head": "yolo", "names": names, "stride": int(metadata["stride"])}
    sidecar_path(file).write_text(yaml.safe_dump(sidecar))
    return file


def measure(weights: Path, seconds: float) -> Iterator[Measured | Refused]:
    folder = data_folder() / "images" / "coco128" / "images"
    ways = ON_CPU + (ON_GPU if torch.cuda.is_available() else [])
    with progress(as_json=False) as tell:
        yield from bench(str(weights), SIZES, folder, seconds, tell, ways)
        yield from bench(str(as_onnx(weights)), SIZES, folder, seconds, tell, AS_ONNX)


def main(seconds: Annotated[float, typer.Option(help="How long each combination is measured.")] = 2.0) -> None:
    told = list(measure(data_folder() / "weights" / "yolov8n.pt", seconds))
    bench_report.show(told, as_json=False)
    rows = [asdict(one) for one in told if isinstance(one, Measured)]
    Console().print(f"written to {save('models', {'rows': rows})}")


if __name__ == "__main__":
    typer.run(main)
