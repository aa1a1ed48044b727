"""PyTorch with Ultralytics weights: the default on CUDA, where `torch_cuda.py` does the work; plain on a CPU."""

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
from inference.found import Found
from inference.heads import Outputs, load_head
from inference.input import InputSpec
from inference.model import ModelInfo, describe, weights_hash
from inference.runtimes import Picture, probe_size
from inference.runtimes.torch_cuda import BATCHES, LANES, CudaEngine
from inference.runtimes.torch_decode import YoloDecoder

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


class Network(torch.nn.Module):
    """From uint8 BGR pictures to raw outputs: normalised, computed in `dtype`, boxes and scores decoded in float32."""

    def __init__(self, model: Any, spec: InputSpec, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self._spec = spec
        self._dtype = dtype
        head = model.model[-1]
        head.export = True
        self._model = model.to(device, dtype, memory_format=torch.channels_last)
        if dtype is not torch.float32:
            _decode_in_float32(head)
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (spec.mean, spec.std))
        self._head = head

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Raw outputs, float32 [batch, ...] each, for uint8 [batch, height, width, 3]."""
        spec = self._spec
        pixels = pictures.permute(0, 3, 1, 2)
        pixels = (pixels.flip(1) if spec.color == "rgb" else pixels).to(torch.float32).div_(spec.scale)
        if any(spec.mean) or spec.std != (1.0, 1.0, 1.0):
            pixels = pixels.sub_(self._mean).div_(self._std)
        raw = self._model(pixels.to(self._dtype).contiguous(memory_format=torch.channels_last))
        return tuple(output.float() for output in (raw if isinstance(raw, tuple) else (raw,)))

    def kept(self) -> Any:
        """What Ultralytics' head remembers of the last input's shape and computes with."""
        return getattr(self._head, "anchors", None), getattr(self._head, "strides", None)


def _decode_in_float32(head: Any) -> None:
    """Half precision tells pixels apart by half a pixel beyond 512; the decoding of boxes is little work."""
    if not hasattr(head, "_inference"):
        return
    original = head._inference

    def inference(found: dict[str, Any]) -> torch.Tensor:
        decoded: torch.Tensor = original(found | {key: found[key].float() for key in ("boxes", "scores")})
        return decoded

    head.dfl.float()
    head._inference = inference


class TorchRuntime:
    """Batches of any memory's pictures on a GPU, single pictures on a CPU."""

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        device = find_device(config.device)
        on_gpu = device.type == "cuda"
        precision = config.precision
        if precision == "auto":
            precision = "fp16" if on_gpu else "fp32"
        if precision not in DTYPES:
            raise ModelError(f"detector.precision: the torch runtime computes in {', '.join(DTYPES)}, not {precision}")
        if precision == "bf16" and on_gpu and torch.cuda.get_device_capability(device) < (8, 0):
            raise ModelError(f"detector.precision: {torch.cuda.get_device_name(device)} has no bf16; use fp16 or fp32")
        model, metadata = load_weights(path)
        described = describe(path, metadata)
        self.info = ModelInfo(
            name=path.stem,
            hash=weights_hash(path),
            names=described.names,
            head=described.head,
            input=described.input,
            image_size=config.image_size,
            runtime="torch",
            device=str(device),
            precision=precision,
            keypoints=described.keypoints,
        )
        wanted = self.info.class_ids(config.classes)
        self._network = Network(model, described.input, DTYPES[precision], device)
        self._head = load_head(self.info, config.confidence, config.iou, wanted, config.max_detections)
        self._lock = threading.Lock()
        self.gpu = device if on_gpu else None
        self.detects = on_gpu and self.info.head == "yolo"
        self.parallel, self.max_batch = (LANES, BATCHES[-1]) if on_gpu else (1, 1)
        self._engine: CudaEngine | None = None
        if self.gpu is not None:
            decoder = None
            if self.detects:
                names = len(self.info.names)
                decoder = YoloDecoder(config.confidence, config.iou, wanted, names, config.max_detections, self.gpu)
            self._engine = CudaEngine(self._network, decoder, self.gpu)
        self.prepare(*probe_size(described.input))

    def prepare(self, height: int, width: int) -> None:
        if self._engine is None:
            self.infer([np.zeros((height, width, 3), np.uint8)])
            return
        try:
            self._engine.prepare(height, width)
        except RuntimeError as error:  # CUDA's, also for no memory
            raise ModelError(f"{self.info.name} cannot run on {self.gpu} at {width}x{height}: {error}") from None

    def infer(self, pictures: Sequence[Picture]) -> Outputs:
        if self._engine is not None:
            return self._engine.infer(pictures)
        with self._lock, torch.inference_mode():
            host: list[NDArray[np.uint8]] = [np.asarray(picture) for picture in pictures]
            return [output.numpy() for output in self._network(torch.from_numpy(np.stack(host)))]

    def detect(self, pictures: Sequence[Picture]) -> list[Found]:
        if self._engine is None:
            raise ModelError("boxes are decoded on a GPU only")
        height, width = pictures[0].shape[:2]
        found = self._engine.detect(pictures)
        # Pictures with more candidates than the GPU sorts out come with their raw output.
        return [Found(one) if raw is None else self._head.decode([raw], height, width) for one, raw in found]


def find_device(wanted: str) -> torch.device:
    """The device that the config names; `auto`: the first GPU, else the CPU.

    Raises:
        ModelError: there is no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return torch.device("cuda:0" if count else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ModelError(f"detector.device: {wanted!r} is no device; use cpu, cuda, cuda:1, … or auto") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ModelError(f"detector.device: the torch runtime computes on cpu or cuda, not {wanted!r}")
    if not count:
        raise ModelError(
            f"detector.device: {wanted!r} was asked for, but PyTorch finds no CUDA device; `nvidia-smi` must list one, "
            f"with a driver for CUDA {torch.version.cuda or '(this PyTorch has none)'}"
        )
    number = device.index or 0
    if number >= count:
        there = ", ".join(f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(count))
        raise ModelError(
            f"detector.device: there is no {wanted!r}; there is {there}. A MIG slice is named by its id in "
            "CUDA_VISIBLE_DEVICES and is then cuda:0"
        )
    return torch.device("cuda", number)
