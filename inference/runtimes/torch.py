"""PyTorch with Ultralytics weights: the default on CUDA."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics import YOLO

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.model import ModelInfo, describe, weights_hash
from inference.runtimes import probe_size

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_weights(path: Path) -> tuple[Any, dict[str, str]]:
    """The fused float32 network of an Ultralytics file, in evaluation mode, and its metadata.

    Raises:
        ModelError: the file is not one of Ultralytics' models.
    """
    try:
        model: Any = YOLO(str(path)).model
    except Exception as error:  # Ultralytics and pickle raise whatever they meet
        raise ModelError(f"Ultralytics cannot read {path}: {error}") from None
    if not isinstance(model, torch.nn.Module):
        raise ModelError(f"the torch runtime reads Ultralytics .pt weights, not {path.name}")
    metadata = {
        "task": str(model.task),
        "names": str(dict(model.names)),
        "stride": str(int(max(model.stride))),
        "end2end": str(bool(getattr(model, "end2end", False))),
        "head": type(model.model[-1]).__name__,
    }
    if metadata["task"] == "pose":
        metadata["kpt_shape"] = str(list(model.model[-1].kpt_shape))
    return model.float().fuse(verbose=False).eval(), metadata


class TorchRuntime:
    """Batches on a GPU, single pictures on a CPU; pictures are normalised on the device."""

    parallel = 1

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        self._device = torch.device(_device(config.device))
        on_gpu = self._device.type == "cuda"
        precision = config.precision
        if precision == "auto":
            precision = "fp16" if on_gpu else "fp32"
        self._dtype = DTYPES[precision]
        self.max_batch = 16 if on_gpu else 1
        model, metadata = load_weights(path)
        described = describe(path, metadata)
        model.model[-1].export = True
        self._model = model.to(self._device, self._dtype, memory_format=torch.channels_last)
        self._lock = threading.Lock()
        self.info = ModelInfo(
            name=path.stem,
            hash=weights_hash(path),
            names=described.names,
            head=described.head,
            input=described.input,
            image_size=config.image_size,
            runtime="torch",
            device=str(self._device),
            precision=precision,
            keypoints=described.keypoints,
        )
        self.prepare(*probe_size(described.input))

    def prepare(self, height: int, width: int) -> None:
        self.infer([np.zeros((height, width, 3), np.uint8)] * self.max_batch)

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        with self._lock, torch.inference_mode():
            batch = torch.from_numpy(np.stack(pictures)).to(self._device, non_blocking=True)
            rgb = batch.permute(0, 3, 1, 2).flip(1).to(self._dtype).div_(255)
            raw = self._model(rgb.contiguous(memory_format=torch.channels_last))
            outputs = raw if isinstance(raw, tuple) else (raw,)
            return [output.float().cpu().numpy() for output in outputs]


def _device(wanted: str) -> str:
    available = torch.cuda.is_available()
    if wanted == "auto":
        return "cuda:0" if available else "cpu"
    if wanted.startswith("cuda") and not available:
        raise ModelError(f"detector.device: {wanted!r} was asked for, but PyTorch finds no CUDA device")
    return wanted
