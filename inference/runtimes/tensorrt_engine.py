"""TensorRT engines: for which input sizes one is built, what it depends on, building it, and keeping it.

Written against TensorRT 10 and 11; 11 has strongly typed networks only.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from inference.errors import ModelError
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.model import cache_dir
from inference.runtimes import probe_size

log = structlog.get_logger()

Shape = tuple[int, int, int, int]

# Up to this many pictures in a batch, and the number that the engine is tuned for.
LARGEST_BATCH = 16
TUNED_BATCH = 8
# The shape of most cameras' pictures; the engine is tuned for it.
CAMERA = (1920, 1080)
# Smallest side of the input in strides: NMS-free heads pick 300 of height x width / stride² x 21 cells.
SMALLEST_STRIDES = 4
WORKSPACE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Profile:
    """The input shapes [batch, 3, height, width] that an engine takes: any from `low` to `high`, tuned for `best`."""

    low: Shape
    best: Shape
    high: Shape

    @classmethod
    def choose(cls, image_size: int, spec: InputSpec, batch: int | None = None) -> Profile:
        """One for all cameras of an image size. `batch` bounds a batch; None: `LARGEST_BATCH`."""
        most = batch or LARGEST_BATCH
        box = Letterbox.fit(*CAMERA, image_size, spec)
        if spec.fixed:
            low = high = spec.fixed
        else:
            probe = max(probe_size(spec))
            side = max(-(-image_size // spec.stride) * spec.stride, probe)
            smallest = min(SMALLEST_STRIDES * spec.stride, box.height, box.width)
            low, high = (smallest, smallest), (side, side)
        return cls((1, 3, *low), (min(TUNED_BATCH, most), 3, box.height, box.width), (most, 3, *high))

    def takes(self, batch: int, height: int, width: int) -> bool:
        shape = (batch, 3, height, width)
        return all(low <= size <= high for low, size, high in zip(self.low, shape, self.high, strict=True))

    def __str__(self) -> str:
        return "-".join("x".join(str(size) for size in shape) for shape in (self.low, self.best, self.high))


@dataclass(frozen=True, slots=True)
class Gpu:
    """What an engine is made for: it runs on no other.

    Attributes:
        capability: compute capability, major and minor.
    """

    name: str
    capability: tuple[int, int]


def engine_path(stem: str, digest: str, gpu: Gpu, version: str, precision: str, profile: Profile) -> Path:
    """Where the engine of these weights is kept; everything that it depends on is in the name."""
    parts = (digest, gpu.name, gpu.capability, version, precision, profile)
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    return cache_dir() / f"{stem}-{digest}-{precision}-trt{version}-{key}.engine"


@dataclass(frozen=True, slots=True)
class Parsed:
    """An ONNX file as TensorRT sees it, and the settings it is built with; keeps alive what its parts refer to.

    Attributes:
        precision: what layers compute in that are not quantised: fp32, fp16 or bf16.
        quantised: the file brings its own 8-bit ranges (QuantizeLinear, DequantizeLinear).
        shape: of the input, [batch, 3, height, width]; -1 where it is free.
    """

    builder: Any
    network: Any
    parser: Any
    config: Any
    precision: str
    quantised: bool
    shape: tuple[int, ...]


def parse(trt: Any, logger: Any, onnx: Path, reduce_to: str | None) -> Parsed:
    """Reads an ONNX file, to be computed in the types that it is written in or, where this TensorRT can, in fewer bits.

    Args:
        reduce_to: fp16 or bf16; TensorRT 11 cannot.

    Raises:
        ModelError: TensorRT cannot read the file, or it does not take pictures.
    """
    builder = trt.Builder(logger)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    flag = getattr(trt.BuilderFlag, reduce_to.upper(), None) if reduce_to else None
    if flag is None:
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    else:
        network = builder.create_network(0)
        config.set_flag(flag)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ModelError(f"TensorRT cannot read {onnx}: {errors or 'it does not say why'}")
    quantised = any(network.get_layer(index).type == trt.LayerType.QUANTIZE for index in range(network.num_layers))
    if quantised and flag is not None:
        config.set_flag(trt.BuilderFlag.INT8)
    kinds = {trt.DataType.FLOAT: "fp32", trt.DataType.HALF: "fp16", trt.DataType.BF16: "bf16"}
    shape = tuple(network.get_input(0).shape)
    if network.num_inputs != 1 or len(shape) != 4 or network.get_input(0).dtype not in kinds:
        raise ModelError(f"{onnx.name} must have one input of floats [batch, 3, height, width]")
    precision = reduce_to if flag is not None and reduce_to else kinds[network.get_input(0).dtype]
    return Parsed(builder, network, parser, config, precision, quantised, shape)


def build(parsed: Parsed, profile: Profile, target: Path) -> bytes:
    """Builds the engine, which takes a minute or several, and keeps it.

    Raises:
        ModelError: TensorRT cannot.
    """
    shapes = parsed.builder.create_optimization_profile()
    shapes.set_shape(parsed.network.get_input(0).name, profile.low, profile.best, profile.high)
    parsed.config.add_optimization_profile(shapes)
    log.info("building the TensorRT engine; this takes minutes, once", engine=target.name, shapes=str(profile))
    serialized = parsed.builder.build_serialized_network(parsed.network, parsed.config)
    if serialized is None:
        raise ModelError(f"TensorRT cannot build an engine of {profile} for {target.stem}; its own log lines say why")
    plan = bytes(serialized)
    part = target.with_name(f"{os.getpid()}-{target.name}")
    try:
        part.write_bytes(plan)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return plan
