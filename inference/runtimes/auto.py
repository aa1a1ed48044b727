"""`runtime: auto`: the fastest runtime that can compute this model on this device, found by trying, once."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from inference.choice import keep_choice, kept_choice
from inference.cost import saturate
from inference.devices import nvidia_gpu, this_cpu, value_in
from inference.errors import ModelError
from inference.letterbox import Letterbox
from inference.model import cache_dir, weights_hash
from inference.runtimes.triton_model import is_triton
from inference.sidecar import sidecar_path

if TYPE_CHECKING:
    from inference.config import DetectorConfig
    from inference.runtimes import Picture, Runtime

log = structlog.get_logger()

# Long enough for a dozen batches of the models that are in use on a CPU.
MEASURE_S = 0.75
# The shape of most cameras' pictures.
CAMERA = (1920, 1080)
PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt")


def choose(path: Path, config: DetectorConfig) -> Runtime:
    """The fastest runtime, loaded. What is measured is kept for the next start, as long as nothing of it changes.

    Raises:
        ModelError: none can load the model on the device.
    """
    from inference.runtimes import load_named

    if is_triton(config.model):
        return load_named("triton", path, config)
    failures: list[ModelError] = []
    for device in devices(config.device):
        names = candidates(path, device, config.precision)
        placed = config.model_copy(update={"device": device})
        try:
            if len(names) == 1:
                return load_named(names[0], path, placed)
            if names:
                return _fastest(names, path, placed)
            failures.append(ModelError(
                f"detector.runtime: nothing installed computes {path.name} with precision {config.precision!r} on "
                f"{device!r}; docs/runtimes.md says what would"
            ))  # fmt: skip
        except ModelError as error:
            failures.append(error)
        if device == "cuda" and config.device == "auto":
            log.warning("the GPU is not used", error=str(failures[-1]))
    raise failures[-1]


def devices(wanted: str) -> list[str]:
    """Where to try, best first. With `auto`, a CPU serves when the GPU cannot."""
    if wanted != "auto":
        return [wanted]
    return ["cuda", "cpu"] if nvidia_gpu() else ["cpu"]


def candidates(path: Path, device: str, precision: str) -> list[str]:
    """Names of the installed runtimes that may be able to, without loading any."""
    is_onnx, on_gpu = path.suffix == ".onnx", device.startswith("cuda")
    can = {
        "openvino": not on_gpu,
        # PyTorch on a CPU is several times slower than OpenVINO (docs/benchmarks.md).
        "torch": on_gpu and not is_onnx and precision != "int8",
        "tensorrt": on_gpu and _is_installed("tensorrt"),
        "onnx": is_onnx and precision != "int8" and _is_installed("onnxruntime"),
    }
    return [name for name, possible in can.items() if possible]


def _is_installed(module: str) -> bool:
    return find_spec(module) is not None


def _fastest(names: Sequence[str], path: Path, config: DetectorConfig) -> Runtime:
    from inference.runtimes import load_named

    kept = cache_dir() / f"auto-{path.stem}-{key(path, config)}.json"
    chosen = kept_choice(kept, "runtime")
    if chosen is not None and chosen in names:
        try:
            return load_named(chosen, path, config)
        except ModelError as error:
            log.warning("the runtime of the last start fails; measuring again", runtime=chosen, error=str(error))
    best: Runtime | None = None
    rates: dict[str, float] = {}
    failures: list[ModelError] = []
    for name in names:
        try:
            runtime = load_named(name, path, config)
            rates[name] = frames_per_second(runtime)
        except Exception as error:  # whatever a runtime raises: the others are tried
            log.warning("runtime left out", runtime=name, error=str(error))
            failures.append(error if isinstance(error, ModelError) else ModelError(f"{name}: {error!r}"))
            continue
        if max(rates.values()) == rates[name]:
            best, chosen = runtime, name
    if best is None:
        raise failures[-1]
    assert chosen is not None, "named with the best"
    if not failures:  # what failed may be mended before the next start
        keep_choice(kept, "runtime", chosen, rates)
    log.info("runtime chosen", runtime=chosen, device=config.device,
             fps={name: round(rate, 1) for name, rate in rates.items()})  # fmt: skip
    return best


def key(path: Path, config: DetectorConfig) -> str:
    """What a choice depends on, as 16 hex digits: model, device, settings and versions."""
    sidecar = sidecar_path(path)
    parts = [
        weights_hash(path),
        sidecar.read_text() if sidecar.is_file() else "",
        config.device, _device_name(config.device), config.precision, config.image_size,
        [_version(package) for package in PACKAGES],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return this_cpu()
    return " ".join(value_in(file, "Model") for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def frames_per_second(runtime: Runtime) -> float:
    """How many frames a runtime computes in a second at full batches, from as many threads as it likes.

    Runs for `MEASURE_S`, and longer only when one batch takes longer.
    """
    info = runtime.info
    box = Letterbox.fit(*CAMERA, info.image_size, info.input)
    pictures: list[Picture] = [np.zeros((box.height, box.width, 3), np.uint8)] * runtime.max_batch
    runtime.prepare(box.height, box.width)
    began = time.perf_counter()
    runtime.infer(pictures)
    first_s = time.perf_counter() - began
    if first_s > MEASURE_S:
        return runtime.parallel * len(pictures) / first_s

    began = time.perf_counter()
    batches = len(saturate(runtime, pictures, MEASURE_S))
    return batches * len(pictures) / (time.perf_counter() - began)
