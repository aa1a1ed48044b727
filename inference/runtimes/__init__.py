"""Runtimes, by name: what computes a model. One file each, loaded when chosen."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelError
from inference.found import Found
from inference.heads import Outputs
from inference.input import InputSpec
from inference.runtimes.triton_model import is_triton

if TYPE_CHECKING:
    import torch

    from inference.config import DetectorConfig
    from inference.model import ModelInfo

RUNTIMES = {
    "openvino": "inference.runtimes.openvino:OpenVinoRuntime",
    "onnx": "inference.runtimes.onnx:OnnxRuntime",
    "tensorrt": "inference.runtimes.tensorrt:TensorRtRuntime",
    "torch": "inference.runtimes.torch:TorchRuntime",
    "triton": "inference.runtimes.triton:TritonRuntime",
}

# Side of the square that a runtime tries at load, in strides: NMS-free heads pick 300 boxes and need that many cells.
PROBE_STRIDES = 10


def probe_size(spec: InputSpec) -> tuple[int, int]:
    """(height, width) that a runtime tries at load, so that a model that cannot run fails the start."""
    return spec.fixed or (spec.stride * PROBE_STRIDES, spec.stride * PROBE_STRIDES)


Picture = Union[NDArray[np.uint8], "torch.Tensor"]
"""uint8 BGR [height, width, 3]; a tensor is in the memory of the runtime's GPU."""


class Runtime(Protocol):
    """Computes one model on one device. Constructed as `Runtime(path, config)`; raises ModelError when it cannot.

    `parallel` calls of `infer` may run at once, each from a thread of its own, with up to `max_batch` pictures each.
    """

    info: ModelInfo
    parallel: int
    max_batch: int

    def prepare(self, height: int, width: int) -> None:
        """Makes ready for pictures of this size; blocks as long as that takes. Called before the first `infer`."""
        ...

    def infer(self, pictures: Sequence[Any]) -> Outputs:
        """Raw outputs, each [batch, ...], for uint8 BGR pictures [height, width, 3], all of one prepared size."""
        ...


@runtime_checkable
class DeviceRuntime(Protocol):
    """What a runtime on a GPU may offer beside `Runtime`: pictures stay on the device, and only boxes leave it.

    Attributes:
        gpu: the device whose memory pictures may be in, as tensors, in `infer` and `detect`; None: the host's only.
        detects: whether `detect` does what the model's head would do.
    """

    gpu: torch.device | None
    detects: bool

    def detect(self, pictures: Sequence[Picture]) -> list[Found]:
        """What the head would make of `infer`'s outputs, by the detector's own config."""
        ...


@runtime_checkable
class FeatureRuntime(Protocol):
    """What a runtime may offer beside `Runtime`: the finest of the maps that the model's head looks at."""

    def add_feature_map(self) -> None:
        """From now on it is the last output of `infer`, [batch, rows, columns, channels]; `prepare` comes after this.

        Raises:
            ModelError: the model has none that can be found.
        """
        ...


def with_feature_map(config: DetectorConfig) -> DetectorConfig:
    """The config with `auto` settled on a CPU, where one runtime has feature maps; a GPU is not given up for them."""
    from inference.runtimes.auto import devices

    settled = config.runtime != "auto" or is_triton(config.model) or devices(config.device) != ["cpu"]
    return config if settled else config.model_copy(update={"runtime": "openvino"})


def add_feature_map(runtime: Runtime) -> None:
    """Has the runtime give the map from which objects' features are made.

    Raises:
        ModelError: it cannot, or not with this model.
    """
    if not isinstance(runtime, FeatureRuntime):
        raise ModelError(
            f"tracker.reid: 'detector' takes features from the openvino runtime, and {runtime.info.name} runs in "
            f"{runtime.info.runtime}; set `detector.runtime: openvino`, give a ReID model's file, or say `off`"
        )
    runtime.add_feature_map()


def gpu_of(runtime: Runtime) -> torch.device | None:
    """The GPU whose memory this runtime reads pictures from, if it does."""
    return runtime.gpu if isinstance(runtime, DeviceRuntime) else None


def blank_picture(runtime: Runtime, height: int, width: int) -> Picture:
    """A black picture where the service's would be."""
    gpu = gpu_of(runtime)
    if gpu is None:
        return np.zeros((height, width, 3), np.uint8)
    import torch  # which such a runtime has loaded

    return torch.zeros((height, width, 3), dtype=torch.uint8, device=gpu)


def detect_on_device(runtime: Runtime, pictures: Sequence[Picture]) -> list[Found] | None:
    """The boxes of each picture, where the runtime decodes by itself; None where `infer` and a head are needed."""
    return runtime.detect(pictures) if isinstance(runtime, DeviceRuntime) and runtime.detects else None


def load_runtime(path: Path, config: DetectorConfig) -> Runtime:
    """The runtime that the config names, with the model loaded; `auto` stands for the fastest.

    Raises:
        ModelError: no such runtime, or it cannot load the model or use the device.
    """
    if config.runtime == "auto":
        from inference.runtimes.auto import choose

        return choose(path, config)
    return load_named(config.runtime, path, config)


def load_named(name: str, path: Path, config: DetectorConfig) -> Runtime:
    """The runtime of this name, a key of `RUNTIMES` or `module:Class`; errors as `load_runtime`'s."""
    target = RUNTIMES.get(name, name)
    module, _, attribute = target.partition(":")
    if not attribute:
        raise ModelError(f"detector.runtime: no runtime {name!r}; use {', '.join(RUNTIMES)}, auto, or module:Class")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"detector.runtime: {name} cannot be loaded: {error}") from error
    runtime: Runtime = factory(path, config)
    return runtime
