"""A frame whose picture lies in GPU memory: decoded there, and brought to the host only for those who need it there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from ingest.frame import Frame
from ingest.shrink import BT601, CHROMA

if TYPE_CHECKING:
    import torch

# What NVDEC decodes 4:2:0 video to, 8 and 10 or 12 bits deep; the deep ones fill 16 bits from the top.
FORMATS = ("nv12", "p010le", "p016le")


@dataclass(frozen=True, slots=True)
class DeviceFrame(Frame):
    """A `Frame` with an `image` in GPU memory, which stays there for as long as the frame or one of its planes does."""

    _host: list[NDArray[Any]] = field(default_factory=list, init=False, repr=False, compare=False)

    def planes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Luma [height, width] and chroma [height // 2, width // 2, 2] (U, V), uint8 or uint16, without a copy.

        The decoder writes them on the device's default stream: what reads them on another waits for that one first.
        """
        luma, chroma = (_tensor(plane) for plane in self.image.planes[:2])
        return luma, chroma

    def bgr(self) -> NDArray[Any]:
        """The picture on the host, uint8 [height, width, 3] BGR, read-only; downloaded once."""
        if not self._host:
            space = self.image.colorspace if self.image.colorspace in CHROMA else BT601
            picture = self.image.reformat(format="bgr24", src_colorspace=space).to_ndarray()
            picture.flags.writeable = False
            self._host.append(picture)
        return self._host[0]


def is_on_device(image: av.VideoFrame) -> bool:
    """Whether `DeviceFrame` is for this picture: in CUDA memory, in a format that can be read there."""
    software = image.sw_format
    return image.format.name == "cuda" and software is not None and software.name in FORMATS


def _tensor(plane: VideoPlane) -> torch.Tensor:
    from torch.utils.dlpack import from_dlpack  # seconds to import: only where there are such frames

    # The capsule, not the plane: PyTorch would ask the plane to synchronise streams, which PyAV refuses.
    tensor: torch.Tensor = from_dlpack(plane.__dlpack__())
    return tensor
