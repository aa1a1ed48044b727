"""Runtimes, by name: what computes a model. One file each, loaded when chosen."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelError
from inference.heads import Outputs
from inference.input import InputSpec

if TYPE_CHECKING:
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

    def infer(self, pictures: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Raw outputs, each [batch, ...], for uint8 BGR pictures [height, width, 3], all of one prepared size."""
        ...


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
