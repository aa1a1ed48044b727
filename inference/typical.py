"""What all objects have in common for a detector's network: what it sees where there are some in two photographs."""

from __future__ import annotations

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.features import Features, unit
from inference.pooling import halves
from inference.runtimes import Runtime, probe_size
from inference.selftest import PHOTOS, view
from ingest.errors import SourceError

log = structlog.get_logger()

Boxes = NDArray[np.float32]


def typical_features(runtime: Runtime) -> Features:
    """float32 [2 * channels], the mean of the objects' features; zeros where the photographs are missing.

    Without it different objects are almost as alike as the same (docs/reid.md). The runtime gives its feature map.
    """
    height, width = probe_size(runtime.info.input)
    runtime.prepare(height, width)
    seen = []
    for photo in PHOTOS:
        try:
            one = view(photo, runtime.info.input, saturation=1.0)
        except SourceError as error:
            log.warning("features are not centred", model=runtime.info.name, why=str(error))
            return np.zeros(2 * runtime.infer([np.zeros((height, width, 3), np.uint8)])[-1].shape[-1], np.float32)
        grid = runtime.infer([one.picture])[-1][0]
        scale = np.array(one.letterbox.size, np.float32) / np.array(one.letterbox.source, np.float32)
        offset = np.array([one.letterbox.left, one.letterbox.top], np.float32)
        boxes: Boxes = (one.boxes.reshape(-1, 2, 2) * scale + offset).reshape(-1, 4).astype(np.float32)
        seen.append(unit(halves(grid, boxes, np.float32(height // len(grid)))))
    mean: Features = np.concatenate(seen).mean(axis=0)
    return mean
