"""A ReID model: what makes a row of numbers of a crop, on the detector's kind of device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import structlog
from numpy.typing import NDArray

from inference.features import Features, unit
from tracking.reid.onnx_file import ReidError, ReidShape, read_shape

if TYPE_CHECKING:
    from ingest.frame import Frame

log = structlog.get_logger()

Crops = NDArray[np.uint8]
"""[N, height, width, 3] BGR."""

# What torchreid, FastReID and BoxMOT train with: RGB, 0 to 1, then ImageNet's mean and deviation (torchvision's docs).
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ReidModel(Protocol):
    """Computes one model. One call at a time."""

    shape: ReidShape
    device: str

    def embed(self, crops: Crops) -> NDArray[np.float32]:
        """[N, length], of any length each."""
        ...


def load_reid(path: Path, device: str) -> ReidModel:
    """The model, on a GPU when `device` (the detector's) is one and there is ONNX Runtime for it, else on the CPU.

    Raises:
        ReidError: it cannot be loaded.
    """
    shape = read_shape(path)
    if device.startswith("cuda"):
        try:
            from tracking.reid.onnx import OnnxReid

            return OnnxReid(path, shape, device)
        except (ImportError, ReidError) as error:
            log.warning("the ReID model computes on the CPU", model=path.name, why=str(error))
    from tracking.reid.openvino import OpenVinoReid

    return OpenVinoReid(path, shape)


def looks(model: ReidModel, seen: Sequence[tuple[Frame, NDArray[np.float32]]]) -> list[Features]:
    """What the objects of several frames look like, given by their boxes in source pixels; all in one go."""
    counts = [len(boxes) for _, boxes in seen]
    crops = np.empty((sum(counts), model.shape.height, model.shape.width, 3), np.uint8)
    first = 0
    for frame, boxes in seen:
        cut(frame.bgr(), boxes, crops[first : first + len(boxes)])
        first += len(boxes)
    rows = unit(model.embed(crops))
    return [rows[end - count : end] for count, end in zip(counts, np.cumsum(counts).tolist(), strict=True)]


def cut(picture: NDArray[np.uint8], boxes: NDArray[np.float32], crops: Crops) -> None:
    """Fills `crops` with what is in the boxes [N, 4], xyxy in the picture's pixels, each stretched to a crop's size."""
    height, width = picture.shape[:2]
    corners = np.rint(boxes).astype(np.int32)
    for crop, (left, top, right, bottom) in zip(crops, corners.tolist(), strict=True):
        left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
        part = picture[top : max(bottom, top + 1), left : max(right, left + 1)]
        cv2.resize(part, (crop.shape[1], crop.shape[0]), dst=crop, interpolation=cv2.INTER_LINEAR)
