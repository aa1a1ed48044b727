"""TensorRT: the fastest on NVIDIA GPUs. Engines are built on first use and kept; pictures are normalised on the GPU.

`python -m inference.runtimes.tensorrt MODEL [IMAGE_SIZE [PRECISION]]` builds the engine ahead of the first start.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.model import ModelInfo, describe, weights_hash
from inference.runtimes import probe_size
from inference.runtimes.tensorrt_engine import LARGEST_BATCH, Gpu, Parsed, Profile, build, engine_path, parse
from inference.sidecar import read_sidecar

log = structlog.get_logger()

INT8_WANTS = "in TensorRT, int8 takes an ONNX file that is quantised (QuantizeLinear and DequantizeLinear nodes)"


class TensorRtRuntime:
    """One execution context on a stream of its own, for batches of any size that the profile takes."""

    parallel = 1

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        self._torch, self._trt = torch, trt = _libraries(config.device)
        self._device = _device(torch, config.device)
        self._lock = threading.Lock()
        digest = weights_hash(path)
        onnx, metadata, reduce_to = _source(path, digest, config.precision)
        described = describe(path, metadata)
        logger = trt.Logger(trt.Logger.WARNING)
        with torch.cuda.device(self._device):
            parsed = parse(trt, logger, onnx, reduce_to)
            _check_precision(path, config.precision, parsed)
            spec = described.input
            if min(parsed.shape[2:]) > 0:
                spec = replace(spec, fixed=(parsed.shape[2], parsed.shape[3]))
            self.max_batch = _largest_batch(path, parsed.shape[0], config.batch)
            self._profile = Profile.choose(config.image_size, spec, self.max_batch)
            properties = torch.cuda.get_device_properties(self._device)
            gpu = Gpu(properties.name, (properties.major, properties.minor))
            target = engine_path(path.stem, digest, gpu, trt.__version__, parsed.precision, self._profile)
            self._runtime = trt.Runtime(logger)
            self._engine = self._kept(target) or self._runtime.deserialize_cuda_engine(
                build(parsed, self._profile, target)
            )
            if self._engine is None:
                raise ModelError(f"TensorRT cannot load the engine that it has just built: {target}")
            self._context = self._engine.create_execution_context()
            self._stream = torch.cuda.Stream(self._device)
            with torch.cuda.stream(self._stream):
                std = torch.tensor(spec.std, device=self._device)[:, None, None]
                self._scale = std * spec.scale
                self._shift = torch.tensor(spec.mean, device=self._device)[:, None, None] / std
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._input = next(n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT)
        self._outputs = [name for name in names if name != self._input]
        self._dtypes = {name: _torch_dtype(torch, trt, self._engine.get_tensor_dtype(name)) for name in names}
        self.info = ModelInfo(
            name=path.stem,
            hash=digest,
            names=described.names,
            head=described.head,
            input=spec,
            image_size=config.image_size,
            runtime="tensorrt",
            device=str(self._device),
            precision="int8" if parsed.quantised else parsed.precision,
            keypoints=described.keypoints,
        )
        self.prepare(*probe_size(spec))

    def prepare(self, height: int, width: int) -> None:
        if not self._profile.takes(1, height, width):
            raise ModelError(
                f"the TensorRT engine of {self.info.name} takes inputs from {self._profile.low[2]} to "
                f"{self._profile.high[2]} pixels a side, not {width}x{height}"
            )
        self.infer([np.zeros((height, width, 3), np.uint8)] * self.max_batch)

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        torch, context = self._torch, self._context
        with self._lock, torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            pixels = torch.from_numpy(np.stack(pictures)).to(self._device, non_blocking=True).permute(0, 3, 1, 2)
            if self.info.input.color == "rgb":
                pixels = pixels.flip(1)
            normalised = pixels.float().div_(self._scale).sub_(self._shift).to(self._dtypes[self._input]).contiguous()
            if not context.set_input_shape(self._input, tuple(normalised.shape)):
                raise ModelError(
                    f"TensorRT refuses an input of {tuple(normalised.shape)}; the profile is {self._profile}"
                )
            context.set_tensor_address(self._input, normalised.data_ptr())
            found = []
            for name in self._outputs:
                shape = tuple(context.get_tensor_shape(name))
                if any(size < 0 for size in shape):
                    raise ModelError(f"the size of {name!r} is known only after computing, which is not supported")
                found.append(torch.empty(shape, dtype=self._dtypes[name], device=self._device))
                context.set_tensor_address(name, found[-1].data_ptr())
            if not context.execute_async_v3(self._stream.cuda_stream):
                raise ModelError(f"TensorRT failed to compute {self.info.name} on {tuple(normalised.shape)}")
            # Copying to the host waits for the stream.
            return [output.float().cpu().numpy() for output in found]

    def _kept(self, file: Path) -> Any:
        """The engine that was kept; None when there is none, or it cannot be used and has to be built again."""
        if not file.is_file():
            return None
        engine = self._runtime.deserialize_cuda_engine(file.read_bytes())
        if engine is None:
            log.warning("the kept TensorRT engine cannot be used; building it again", engine=file.name)
        return engine


def _libraries(device: str) -> tuple[Any, Any]:
    """PyTorch, which owns the buffers, and TensorRT."""
    if device == "cpu":
        raise ModelError("detector.device: the tensorrt runtime computes on NVIDIA GPUs, not on 'cpu'")
    import torch

    if not torch.cuda.is_available():
        raise ModelError("detector.runtime: tensorrt needs an NVIDIA GPU, and PyTorch finds no CUDA device")
    try:
        import tensorrt
    except ImportError as error:
        raise ModelError(
            f"detector.runtime: tensorrt needs TensorRT ({error}): pip install 'vigil-video[tensorrt]'"
        ) from None
    return torch, tensorrt


def _device(torch: Any, wanted: str) -> Any:
    kind, _, number = wanted.partition(":")
    index = int(number) if number.isdigit() else 0
    if kind not in ("auto", "cuda") or (number and not number.isdigit()) or index >= torch.cuda.device_count():
        raise ModelError(f"detector.device: no {wanted!r}; PyTorch finds {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", index)


def _source(path: Path, digest: str, precision: str) -> tuple[Path, dict[str, str], str | None]:
    """The ONNX file to build from, the weights' metadata, and in how many bits to compute if not the file's own."""
    if path.suffix == ".onnx":
        from inference.runtimes.openvino import read_metadata

        metadata = {} if read_sidecar(path) else read_metadata(path)
        return path, metadata, precision if precision in ("fp16", "bf16") else None
    if precision == "int8":
        raise ModelError(f"detector.precision: {path.name}: {INT8_WANTS}")
    from inference.runtimes.torch_export import exported

    onnx, metadata = exported(path, digest, "fp16" if precision == "auto" else precision)
    return onnx, metadata, None


def _check_precision(path: Path, wanted: str, parsed: Parsed) -> None:
    if wanted == "int8":
        if not parsed.quantised:
            raise ModelError(f"detector.precision: {path.name}: {INT8_WANTS}")
    elif wanted not in ("auto", parsed.precision):
        raise ModelError(
            f"detector.precision: {path.name} is in {parsed.precision}, and this TensorRT computes it in nothing else; "
            f"for {wanted} export it so, use its .pt file, or pip install 'tensorrt<11'"
        )


def _largest_batch(path: Path, declared: int, wanted: int | str) -> int:
    """`declared` is the batch of the file, -1 where it is free."""
    if declared not in (-1, 1):
        raise ModelError(f"{path.name} takes batches of {declared} only; export it with a free or single batch")
    return 1 if declared == 1 else wanted if isinstance(wanted, int) else LARGEST_BATCH


def _torch_dtype(torch: Any, trt: Any, kind: Any) -> Any:
    dtypes = {
        trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16, trt.DataType.BF16: torch.bfloat16,
        trt.DataType.INT32: torch.int32, trt.DataType.INT64: torch.int64, trt.DataType.INT8: torch.int8,
        trt.DataType.UINT8: torch.uint8, trt.DataType.BOOL: torch.bool,
    }  # fmt: skip
    if kind not in dtypes:
        raise ModelError(f"PyTorch has no type for TensorRT's {kind}")
    return dtypes[kind]


def main() -> None:
    model, *more = sys.argv[1:]
    size, precision = [*more, "640", "auto"][0], [*more[1:], "auto"][0]
    config = DetectorConfig.model_validate(
        {"model": model, "device": "cuda", "image_size": int(size), "precision": precision}
    )
    print(TensorRtRuntime(Path(model), config).info)


if __name__ == "__main__":
    main()
