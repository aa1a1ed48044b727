"""ONNX Runtime: ONNX files on a CPU, or on a GPU through CUDA. Pictures are normalised on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.input import InputSpec
from inference.model import ModelInfo, describe, weights_hash
from inference.runtimes import probe_size

try:
    import onnxruntime as ort
except ImportError:
    raise ModelError("detector.runtime: onnx needs ONNX Runtime: pip install 'vigil-video[onnx]'") from None

PRECISIONS = {"tensor(float)": ("fp32", np.float32), "tensor(float16)": ("fp16", np.float16)}
GPU_BATCH = 16


class OnnxRuntime:
    """Two sessions' worth of threads on a CPU; batches on a GPU where the file allows them."""

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        if path.suffix != ".onnx":
            raise ModelError(
                f"the onnx runtime reads .onnx files, not {path.name}: `yolo export format=onnx dynamic=True` makes one"
            )
        on_gpu, providers = _providers(config.device)
        cores = len(os.sched_getaffinity(0))
        self.parallel = 1 if on_gpu else min(2, cores)
        options = ort.SessionOptions()
        options.intra_op_num_threads = max(1, cores // self.parallel)
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises a dozen types of its own
            raise ModelError(f"ONNX Runtime cannot read {path}: {error}") from None
        described = describe(path, self._session.get_modelmeta().custom_metadata_map)
        (self._name, batch, fixed, kind), *more = [_input(one) for one in self._session.get_inputs()]
        if more or kind not in PRECISIONS:
            raise ModelError(f"{path.name} must have one input of float32 or float16 [batch, 3, height, width]")
        precision, self._dtype = PRECISIONS[kind]
        if config.precision not in ("auto", precision):
            raise ModelError(
                f"detector.precision: {path.name} computes in {precision}, not {config.precision}; an ONNX file's "
                "precision is its own"
            )
        self._input: InputSpec = replace(described.input, fixed=fixed) if fixed else described.input
        self.max_batch = (batch or GPU_BATCH) if on_gpu else 1
        if batch not in (None, self.max_batch):
            raise ModelError(f"{path.name} takes batches of {batch} only; export it with a free or single batch")
        self.info = ModelInfo(
            name=path.stem,
            hash=weights_hash(path),
            names=described.names,
            head=described.head,
            input=self._input,
            image_size=config.image_size,
            runtime="onnx",
            device="cuda" if on_gpu else "cpu",
            precision=precision,
            keypoints=described.keypoints,
        )
        self.prepare(*probe_size(self._input))

    def prepare(self, height: int, width: int) -> None:
        try:
            self.infer([np.zeros((height, width, 3), np.uint8)])
        except Exception as error:  # see above
            raise ModelError(f"ONNX Runtime cannot use {self.info.name} at {width}x{height}: {error}") from None

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        blob = self._input.blob(pictures)
        outputs = self._session.run(None, {self._name: blob.astype(self._dtype, copy=False)})
        return [output.astype(np.float32, copy=False) for output in outputs]


def _providers(device: str) -> tuple[bool, list[Any]]:
    """Whether to compute on a GPU, and ONNX Runtime's names for where."""
    has_cuda = "CUDAExecutionProvider" in ort.get_available_providers()
    if device.startswith("cuda") and not has_cuda:
        raise ModelError(
            f"detector.device: {device!r} was asked for, but this ONNX Runtime has no CUDA: pip install onnxruntime-gpu"
        )
    on_gpu = has_cuda if device == "auto" else device.startswith("cuda")
    number = int(device.partition(":")[2] or 0)
    return on_gpu, [("CUDAExecutionProvider", {"device_id": number})] if on_gpu else ["CPUExecutionProvider"]


def _input(declared: ort.NodeArg) -> tuple[str, int | None, tuple[int, int] | None, str]:
    """An input's name, batch and (height, width) where they are fixed, and type."""
    batch, _, height, width = declared.shape if len(declared.shape) == 4 else (None, None, None, None)
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    return declared.name, batch if isinstance(batch, int) else None, fixed, declared.type
