"""OpenVINO: the default on CPUs. Colour order, scaling and layout are folded into the compiled graph."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import ColorFormat, PrePostProcessor

from inference.config import DetectorConfig
from inference.errors import ModelError
from inference.heads import Outputs
from inference.input import InputSpec
from inference.model import ModelInfo, cache_dir, describe, weights_hash
from inference.openvino_cache import alone, use_cache
from inference.openvino_floats import PRECISIONS, computed_in, fastest_floats
from inference.runtimes import probe_size
from inference.runtimes.openvino_features import add_map, head_inputs
from inference.runtimes.openvino_int8 import is_quantised, quantised


class OpenVinoRuntime:
    """One picture a request, as many requests at once as the device likes: on a CPU that beats batching."""

    max_batch = 1

    def __init__(self, path: Path, config: DetectorConfig) -> None:
        if config.device not in ("auto", "cpu"):
            raise ModelError(f"detector.device: the openvino runtime computes on 'cpu', not {config.device!r}")
        self._core = ov.Core()
        use_cache(self._core)
        digest = weights_hash(path)
        self._model_path = path if path.suffix == ".onnx" else _converted(path, digest)
        try:
            model = self._core.read_model(self._model_path)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot read {path}: {_first_line(error)}") from None
        described = describe(path, _metadata(model))
        self._input: InputSpec = described.input
        is_int8 = is_quantised(model)
        if config.precision == "int8" and not is_int8:
            self._model_path = quantised(path, digest, model, self._input, config.image_size, config.calibration)
            is_int8 = True
        self._hints: dict[str, Any] = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
        }
        self._gives_map = False
        self._compiled: dict[tuple[int, int], ov.CompiledModel] = {}
        self._requests = threading.local()
        size = probe_size(described.input)
        if config.precision in PRECISIONS:
            self._hints |= computed_in(config.precision)
        elif not is_int8:  # what is left of an int8 model in floats hardly matters
            self._hints |= fastest_floats(self._core, path, partial(self._compile, *size), (1, *size, 3))
        # Compile one shape now: a model that cannot run must fail the start, not the first frame.
        probe = self._compiled[size] = self._compile(*size)
        self.parallel = int(probe.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self.info = ModelInfo(
            name=path.stem,
            hash=digest,
            names=described.names,
            head=described.head,
            input=described.input,
            image_size=config.image_size,
            runtime="openvino",
            device="cpu",
            precision="int8" if is_int8 else _precision(probe),
            keypoints=described.keypoints,
        )

    def add_feature_map(self) -> None:
        height, width = probe_size(self._input)
        model = self._core.read_model(self._model_path)
        model.reshape([1, 3, height, width])
        if not head_inputs(model, height, width):
            raise ModelError(
                f"tracker.reid: 'detector' finds no feature map in {self._model_path.name}, as its head looks at no "
                "grids; give a ReID model's file, or say `off`"
            )
        self._gives_map = True
        self._compiled.clear()
        self._requests = threading.local()

    def prepare(self, height: int, width: int) -> None:
        if (height, width) not in self._compiled:
            self._compiled[height, width] = self._compile(height, width)

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        (picture,) = pictures
        request, outputs = self._request(picture.shape[0], picture.shape[1])
        request.set_input_tensor(ov.Tensor(picture[None], shared_memory=True))
        request.start_async(share_inputs=True)
        request.wait()
        return outputs

    def _compile(self, height: int, width: int, hints: Mapping[str, str] = MappingProxyType({})) -> ov.CompiledModel:
        try:
            model = self._core.read_model(self._model_path)
            model.reshape([1, 3, height, width])
            if self._gives_map:
                add_map(model, head_inputs(model, height, width)[0])
            spec = self._input
            steps = PrePostProcessor(model)
            steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(
                ColorFormat.BGR
            )
            steps.input().model().set_layout(ov.Layout("NCHW"))
            pixels = steps.input().preprocess().convert_element_type(ov.Type.f32)
            if spec.color == "rgb":
                pixels = pixels.convert_color(ColorFormat.RGB)
            pixels.scale(spec.scale)
            if any(spec.mean):
                pixels.mean(list(spec.mean))
            if spec.std != (1.0, 1.0, 1.0):
                pixels.scale(list(spec.std))
            with alone(self._model_path):
                return self._core.compile_model(steps.build(), "CPU", {**self._hints, **hints})
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot use {self._model_path.name} at {width}x{height}: {_first_line(error)}"
            ) from None

    def _request(self, height: int, width: int) -> tuple[ov.InferRequest, Outputs]:
        """This thread's own request for this size, and its outputs' own memory."""
        requests: dict[Any, tuple[ov.InferRequest, Outputs]] = self._requests.__dict__
        if (height, width) not in requests:
            request = self._compiled[height, width].create_infer_request()
            requests[height, width] = request, [tensor.data for tensor in request.output_tensors]
        return requests[height, width]


def _precision(compiled: ov.CompiledModel) -> str:
    """The number format that OpenVINO chose, as the config would name it."""
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return next((name for name, theirs in PRECISIONS.items() if theirs == chosen), chosen)


def read_metadata(path: Path) -> dict[str, str]:
    """What Ultralytics wrote into an ONNX file.

    Raises:
        ModelError: OpenVINO cannot read the file.
    """
    try:
        return _metadata(ov.Core().read_model(path))
    except RuntimeError as error:
        raise ModelError(f"OpenVINO cannot read {path}: {_first_line(error)}") from None


def _metadata(model: ov.Model) -> dict[str, str]:
    """What Ultralytics wrote into the ONNX file, or we into the converted one."""
    if not model.has_rt_info("framework"):
        return {}
    keys = ("task", "names", "stride", "end2end", "head", "kpt_shape")
    return {key: model.get_rt_info(["framework", key]).astype(str) for key in keys
            if model.has_rt_info(["framework", key])}  # fmt: skip


def _converted(path: Path, digest: str) -> Path:
    """Ultralytics weights as an OpenVINO file that takes any input size; converted once, then kept."""
    target = cache_dir() / f"{path.stem}-{digest}.xml"
    if target.is_file():
        return target
    import torch

    from inference.runtimes.torch import load_weights

    model, metadata = load_weights(path)
    model.model[-1].export = True
    model.model[-1].format = "openvino"
    model.model[-1].dynamic = True
    example = torch.zeros(1, 3, 320, 320)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is what OpenVINO's converter takes
        model(example)
        traced = torch.jit.trace(model, example, strict=False, check_trace=False)
    converted = ov.convert_model(traced, input=[-1, 3, -1, -1], example_input=example)
    for key, value in metadata.items():
        converted.set_rt_info(value, ["framework", key])
    part = target.with_name(f"{os.getpid()}-{target.name}")
    ov.save_model(converted, part, compress_to_fp16=False)
    part.with_suffix(".bin").replace(target.with_suffix(".bin"))
    # The weights are in place before the file that makes the pair visible.
    part.replace(target)
    return target


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
