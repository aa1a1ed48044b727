"""The brightness of a picture as the decoder left it, without converting anything."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray


def luma(image: av.VideoFrame) -> NDArray[np.uint8]:
    """The picture's luma, uint8 [height, at least width]; deeper ones lose their last bits."""
    kind, bits = image.format, image.format.components[0].bits
    in_plane = kind.name.startswith(("yuv4", "yuvj4", "nv12", "nv21", "gray")) and (
        kind.is_planar or kind.name.startswith("gray")
    )
    if not in_plane or kind.is_big_endian or not 8 <= bits <= 16:
        image, bits = VideoReformatter().reformat(image, format="gray8"), 8
    plane = image.planes[0]
    memory = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
    lines = memory.reshape(plane.height, plane.line_size)
    return lines if bits == 8 else (lines.view(np.uint16) >> (bits - 8)).astype(np.uint8)
