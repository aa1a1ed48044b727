"""ReID on a CPU, with OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import ColorFormat, PrePostProcessor

from inference.openvino_cache import alone, use_cache
from inference.openvino_floats import fastest_floats
from tracking.reid.model import MEAN, STD, Crops
from tracking.reid.onnx_file import ReidError, ReidShape


class OpenVinoReid:
    """One crop a request, as many requests at once as the device likes, as in the openvino runtime."""

    device = "cpu"

    def __init__(self, path: Path, shape: ReidShape) -> None:
        self.shape = shape
        core = ov.Core()
        use_cache(core)
        try:
            model = core.read_model(path)
            model.reshape([1, 3, shape.height, shape.width])
            steps = PrePostProcessor(model)
            steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC")).set_color_format(
                ColorFormat.BGR
            )
            steps.input().model().set_layout(ov.Layout("NCHW"))
            pixels = steps.input().preprocess().convert_element_type(ov.Type.f32).convert_color(ColorFormat.RGB)
            pixels.scale(255.0).mean(list(MEAN)).scale(list(STD))
            hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0))}
            preprocessed = steps.build()

            def compiled(more: Mapping[str, str]) -> ov.CompiledModel:
                with alone(path):
                    return core.compile_model(preprocessed, "CPU", {**hints, **more})

            floats = fastest_floats(core, path, compiled, (1, shape.height, shape.width, 3))
            self._requests = ov.AsyncInferQueue(compiled(floats))
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise ReidError(f"OpenVINO cannot use {path}: {lines[-1] if lines else 'no reason given'}") from None
        self._rows = np.empty((0, shape.length), np.float32)
        self._requests.set_callback(self._take)

    def embed(self, crops: Crops) -> NDArray[np.float32]:
        rows = self._rows = np.empty((len(crops), self.shape.length), np.float32)
        for index in range(len(crops)):
            self._requests.start_async(ov.Tensor(crops[index : index + 1], shared_memory=True), index)
        self._requests.wait_all()
        return rows

    def _take(self, request: ov.InferRequest, index: int) -> None:
        self._rows[index] = request.get_output_tensor(0).data[0]
