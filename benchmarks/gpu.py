"""What one GPU can do, in one run: correct first, then decoding alone, inference alone, and the whole service.

`python -m benchmarks.gpu [--model yolov8n.pt] [--streams 1,8,32,64,128] [--seconds 15] [--parts environment,checks,…]`

Each part stands alone: one that fails is told, and the others' figures are kept. After every figure the file is
written anew: `benchmarks/out/gpu.json`, whose keys docs/gpu.md explains. Exits with 2 where there is no GPU, with 1
where a part failed. `--device cpu` runs what can be run without one, to try the script itself.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

PARTS = ("environment", "checks", "decoding", "inference", "service")
PACKAGES = (
    "torch", "torchvision", "triton", "av", "ultralytics", "numpy", "opencv-python", "onnxruntime-gpu", "tensorrt",
    "nvidia-ml-py",
)  # fmt: skip
DECODING_STREAMS = (1, 8, 32, 64)
# A limit found is narrowed down so often, between the most streams that hold and the fewest that do not.
NARROWINGS = 2
# TensorRT builds its engines first.
INFERENCE_S, CHECK_S = 600.0, 240.0

console = Console(width=150)


class Run:
    """The result so far, and where it is kept."""

    def __init__(self, out: Path | None) -> None:
        from benchmarks.harness import OUT

        self.file = out or OUT / "gpu.json"
        self.result: dict[str, Any] = {"failed": {}}

    def keep(self, part: str, value: Any) -> None:
        import json

        self.result[part] = value
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part_file = self.file.with_suffix(".part")
        part_file.write_text(json.dumps(self.result, indent=2, default=str) + "\n")
        part_file.replace(self.file)

    def attempt(self, name: str, work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """What `work` gives for these arguments, or None when it fails: then `failed` says why."""
        began = time.monotonic()
        try:
            value = work(*arguments, **named)
        except (Exception, SystemExit) as error:  # whatever a machine we have never seen makes fail
            self.result["failed"][name] = f"{type(error).__name__}: {error}"
            self.keep("failed", self.result["failed"])
            console.print(f"[red]{name} failed:[/red] {type(error).__name__}: {str(error)[:1500]}", highlight=False)
            traceback.print_exc(file=sys.stderr)
            return None
        console.print(f"{name}: {time.monotonic() - began:.1f} s", style="dim", highlight=False)
        return value


def environment(gpu: int | None) -> dict[str, Any]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    told: dict[str, Any] = {
        "python": platform.python_version(), "cores": len(os.sched_getaffinity(0)), "machine": platform.machine(),
        "packages": versions,
    }  # fmt: skip
    if gpu is not None:
        from benchmarks.gpu_inference import alone

        told |= alone("environment", 120, gpu=gpu)
        told["driver"] = _said(
            ["nvidia-smi", "--query-gpu=driver_version,compute_mode,mig.mode.current", "--format=csv,noheader"]
        )
        told["mps"] = bool(_said(["pgrep", "-f", "nvidia-cuda-mps"]))
    return told


def _said(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def decoding(run: Run, clips: dict[str, Path], gpu: int | None, seconds: float, most: int) -> None:
    from benchmarks.gpu_decode import measure

    table = Table("decoding alone", "streams", "processes", "frames/s", "on the GPU", "errors")
    result: dict[str, list[Any]] = {}
    for name, file, letterbox in [
        *((codec, file, False) for codec, file in clips.items()),
        *([("h264 and letterbox", clips["h264"], True)] if gpu is not None and "h264" in clips else []),
    ]:
        for streams in (n for n in DECODING_STREAMS if n <= most):
            part = f"decoding {name} {streams}"
            row = run.attempt(part, measure, file, streams, seconds, gpu, letterbox)
            if row is None:
                continue
            result.setdefault(name, []).append(row)
            run.keep("decoding", result)
            table.add_row(
                name, str(streams), str(row["processes"]), str(row["fps"]), str(row["on_gpu"]),
                "; ".join(row["errors"] + row["fallbacks"])[:60],
            )  # fmt: skip
    console.print(table)


def inference(run: Run, model: Path, device: str, seconds: float) -> None:
    from benchmarks.gpu_inference import alone, candidates

    table = Table("inference alone", "precision", "batch", "frames/s", "ms a batch")
    result = []
    for runtime, precision in candidates(model, device):
        name = f"inference {runtime} {precision}"
        row = run.attempt(
            name, alone, "throughput", INFERENCE_S,
            model=model, device=device, runtime=runtime, precision=precision, seconds=seconds,
        )  # fmt: skip
        if row is None:
            continue
        result.append(row)
        run.keep("inference", result)
        for batch, figures in row["batches"].items():
            table.add_row(runtime, row["precision"], batch, str(figures["fps"]), str(figures["batch_ms"]))
    console.print(table)


def service(
    run: Run, clips: list[Path], detector: dict[str, Any], counts: list[int], seconds: float, gpu: int | None,
    per_worker: int, ends: float,
) -> None:  # fmt: skip
    """The counts one after the other until one does not hold, and then between the two; not beyond `ends`."""
    from benchmarks.gpu_service import measure

    table = Table("service: streams", "frames/s", "p50 ms", "p95 ms", "p99 ms", "dropped", "GPU", "NVDEC", "GiB",
                  "GPU ms/frame", "cores", "decoders", "holds")  # fmt: skip
    rows: list[dict[str, Any]] = []
    result: dict[str, Any] = {"rows": rows}
    holds, fails = 0, 0

    def tried(streams: int) -> bool | None:
        took = max((row["ready_s"] for row in rows), default=30.0) + seconds + 20
        if time.monotonic() + took > ends:
            console.print(f"no time left for {streams} streams (--minutes)")
            return None
        row = run.attempt(f"service {streams}", measure, streams, clips, detector, seconds, gpu, per_worker)
        if row is None:
            return None
        rows.append(row)
        run.keep("service", result)
        console.print(
            f"  {streams} streams: {row['fps']} frames/s, p95 {row['p95_ms']} ms, "
            f"dropped {row['dropped_share']:.2%}, {'holds' if row['holds'] else 'does not hold'}"
        )
        return bool(row["holds"])

    for streams in counts:
        held = tried(streams)
        if held is None:
            break
        if not held:
            fails = streams
            break
        holds = streams
    for _ in range(NARROWINGS):
        middle = (holds + fails) // 2
        if not fails or middle in (holds, fails) or (held := tried(middle)) is None:
            break
        holds, fails = (middle, fails) if held else (holds, middle)
    result["most_streams"] = holds
    for row in rows:
        table.add_row(
            str(row["streams"]), str(row["fps"]), str(row["p50_ms"]), str(row["p95_ms"]), str(row["p99_ms"]),
            f"{row['dropped_share']:.2%}", str(row.get("gpu_share", "")), str(row.get("nvdec_share", "")),
            str(row.get("gpu_memory_gib", "")), str(row.get("gpu_ms_per_frame", "")), str(row["cpu_cores"]),
            str(row["decoders"]), str(row["holds"]),
        )  # fmt: skip
    run.keep("service", result)
    console.print(table)


def limit(result: dict[str, Any]) -> dict[str, Any] | None:
    """The service's best rate against the slower of decoding alone and inference alone."""
    alone = {
        "decoding_fps": max((row["fps"] for row in result.get("decoding", {}).get("h264", [])), default=None),
        "inference_fps": max((row["best_fps"] for row in result.get("inference", [])), default=None),
    }
    served = [row["fps"] for row in result.get("service", {}).get("rows", [])]
    if not served or None in alone.values():
        return None
    bound = min(value for value in alone.values() if value is not None)
    return {**alone, "service_fps": max(served), "share_of_limit": round(max(served) / bound, 3)}


def main(
    model: Annotated[Path | None, typer.Option(help=".pt or .onnx; default: the shared yolov8n.pt.")] = None,
    video: Annotated[Path | None, typer.Option(help="What the clips show; default: the demo's street.")] = None,
    streams: Annotated[str, typer.Option(help="Numbers of streams to serve, rising.")] = "1,8,32,64,128,192,256",
    seconds: Annotated[float, typer.Option(help="How long the service is measured at each of them.")] = 15.0,
    minutes: Annotated[float, typer.Option(help="No new measurement of the service after so long.")] = 30.0,
    device: Annotated[str, typer.Option(help="cuda, cuda:1, …; cpu: to try the script.")] = "cuda",
    runtime: Annotated[str, typer.Option(help="The service's runtime; default: torch for .pt, else auto.")] = "",
    parts: Annotated[str, typer.Option(help="Which of " + ", ".join(PARTS))] = ",".join(PARTS),
    per_worker: Annotated[int, typer.Option(help="Streams of one worker process.")] = 16,
    frames: Annotated[int, typer.Option(help="Length of the clips.")] = 240,
    out: Annotated[Path | None, typer.Option(help="The JSON file; default: benchmarks/out/gpu.json.")] = None,
) -> None:
    began = time.monotonic()
    wanted = parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise typer.BadParameter(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    counts = sorted({int(count) for count in streams.split(",")})
    gpu = None
    if device != "cpu":
        from inference.errors import ModelError
        from inference.runtimes.torch import find_device

        try:
            gpu = find_device(device).index
        except ModelError as error:
            console.print(f"no GPU to measure: {error}", highlight=False)
            raise typer.Exit(2) from None
    if model is None:
        from benchmarks.clips import data_folder

        model = data_folder() / "weights" / "yolov8n.pt"
    model = model.resolve()
    run = Run(out)
    run.keep("arguments", {"model": model.name, "seconds": seconds, "device": device, "streams": counts})
    if "environment" in wanted and (told := run.attempt("environment", environment, gpu)) is not None:
        run.keep("environment", told)
        console.print(told)

    from benchmarks.gpu_clips import CODECS, clip

    clips: dict[str, Path] = {}
    for codec in CODECS:
        if file := run.attempt(f"clip {codec}", clip, codec, video, frames):
            clips[codec] = file
    if "checks" in wanted:
        checks(run, model, clips, device, gpu)
    if "decoding" in wanted:
        decoding(run, clips, gpu, min(seconds, 5.0), max(counts))
    if "inference" in wanted:
        inference(run, model, device, min(seconds, 2.0))
    if "service" in wanted and clips:
        detector = {
            "model": str(model), "device": device, "runtime": runtime or ("torch" if model.suffix == ".pt" else "auto")
        }  # fmt: skip
        service(run, list(clips.values()), detector, counts, seconds, gpu, per_worker, began + 60 * minutes)
    if (against := limit(run.result)) is not None:
        run.keep("limit", against)
        console.print(against)
    run.keep("took_s", round(time.monotonic() - began, 1))
    console.print(f"written to {run.file}")
    if run.result["failed"]:
        console.print(f"[red]failed:[/red] {', '.join(run.result['failed'])}")
        raise typer.Exit(1)


def checks(run: Run, model: Path, clips: dict[str, Path], device: str, gpu: int | None) -> None:
    from benchmarks.gpu_inference import alone

    result: dict[str, Any] = {}
    if gpu is not None:
        for codec, file in clips.items():
            result[f"frames {codec}"] = run.attempt(
                f"check frames {codec}", alone, "frames", CHECK_S, clip=file, gpu=gpu
            )
    for precision in ("fp32", "fp16") if device != "cpu" and model.suffix == ".pt" else ("auto",):
        name, file = f"boxes {precision}", next(iter(clips.values()))
        result[name] = run.attempt(
            f"check {name}", alone, "boxes", CHECK_S, model=model, clip=file, device=device, precision=precision
        )
    run.keep("checks", result)
    console.print(result)


if __name__ == "__main__":
    typer.run(main)
