"""A frame whose picture lies in GPU memory: decoded there, and brought to the host only for those who need it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
from av.video.plane import VideoPlane

from ingest.frame import Frame

if TYPE_CHECKING:
    import torch

# What NVDEC decodes 4:2:0 video to, 8 and 10 or 12 bits deep; the deep ones fill 16 bits from the top.
FORMATS = ("nv12", "p010le", "p016le")


Place = tuple[int, int, int, int]
# Luma [height, width] and chroma [height // 2, width // 2, 2] (U, V), uint8 or uint16.
Fit = Callable[["torch.Tensor", "torch.Tensor"], None]


@dataclass(frozen=True, slots=True)
class DeviceFrame(Frame):
    """A `Frame` with a picture in GPU memory, which stays there for as long as the frame or one of its planes does."""

    def shrink_on_device(self, fit: Fit, slot: torch.Tensor, place: Place) -> None:
        """Has `fit` put the picture into a part of `slot`, and then fills what the masks hide, on the current stream.

        `fit` gets the planes as they lie in memory, for this one purpose: what it writes is masked, what it kept would
        not be. The decoder writes them on the device's default stream: what reads them on another waits for that one
        first.

        Args:
            fit: writes the picture, from its luma and chroma planes.
            slot: uint8 [height, width, 3].
            place: left, top, width and height of the part.
        """
        fit(*self._planes())
        if self._masks is not None:
            self._masks.fill_on_device((self.width, self.height), slot, place)

    def _planes(self) -> tuple[torch.Tensor, torch.Tensor]:
        luma, chroma = (_tensor(plane) for plane in self._native.planes[:2])
        return luma, chroma


def is_on_device(image: av.VideoFrame) -> bool:
    """Whether `DeviceFrame` is for this picture: in CUDA memory, in a format that can be read there."""
    software = image.sw_format
    return image.format.name == "cuda" and software is not None and software.name in FORMATS


def _tensor(plane: VideoPlane) -> torch.Tensor:
    from torch.utils.dlpack import from_dlpack  # seconds to import: only where there are such frames

    # The capsule, not the plane: PyTorch would ask the plane to synchronise streams, which PyAV refuses.
    tensor: torch.Tensor = from_dlpack(plane.__dlpack__())
    return tensor
