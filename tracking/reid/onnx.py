"""ReID on a GPU, with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tracking.reid.model import MEAN, STD, Crops
from tracking.reid.onnx_file import ReidError, ReidShape

BATCH = 64


class OnnxReid:
    """All crops in batches; a model with a batch of one gets them one by one."""

    def __init__(self, path: Path, shape: ReidShape, device: str) -> None:
        """
        Raises:
            ReidError: this ONNX Runtime has no CUDA, or cannot load the model there.
        """
        self.shape, self.device = shape, device
        if device.startswith("cuda") and "CUDAExecutionProvider" not in ort.get_available_providers():
            raise ReidError("this ONNX Runtime has no CUDA: pip install onnxruntime-gpu")
        number = int(device.partition(":")[2] or 0)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        providers = [("CUDAExecutionProvider", {"device_id": number})] if device != "cpu" else ["CPUExecutionProvider"]
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises a dozen types of its own
            raise ReidError(f"ONNX Runtime cannot load {path}: {error}") from None
        batch = self._session.get_inputs()[0].shape[0]
        self._batch = batch if isinstance(batch, int) else BATCH
        self._scale = np.float32(1) / (np.float32(255) * np.array(STD, np.float32))
        self._shift = np.array(MEAN, np.float32) / np.array(STD, np.float32)

    def embed(self, crops: Crops) -> NDArray[np.float32]:
        parts = [np.empty((0, self.shape.length), np.float32)]
        for first in range(0, len(crops), self._batch):
            pixels = crops[first : first + self._batch, :, :, ::-1] * self._scale - self._shift
            blob = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
            parts.append(self._session.run(None, {self.shape.input: blob})[0])
        return np.concatenate(parts)
