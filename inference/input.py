"""What a model expects of its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inference.errors import ModelError


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Colour order, number range and geometry of a model's input; the defaults are Ultralytics' own.

    A model computes on `(pixel / scale - mean) / std`, channel by channel in its `color` order.

    Attributes:
        stride: the input's height and width are multiples of this, pixels.
        color: channel order.
        scale: what uint8 pixel values are divided by.
        mean, std: per channel, after scaling.
        fit: where the resized picture lies in the input: in the centre or top left of the padding, or `stretch`ed over
            all of it.
        fixed: (height, width) of the only input the file takes; None: any multiples of the stride.
    """

    stride: int = 32
    color: Literal["rgb", "bgr"] = "rgb"
    scale: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: Literal["center", "top_left", "stretch"] = "center"
    fixed: tuple[int, int] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> InputSpec:
        """From what `asdict` gave, after a passage through JSON."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        return cls(**values)

    def blob(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Pictures of one size, uint8 BGR [height, width, 3], as the model wants them: float32 [batch, 3, H, W]."""
        import cv2  # slow to import, and the supervisor needs none

        blob = cv2.dnn.blobFromImages(list(pictures), 1 / self.scale, swapRB=self.color == "rgb")
        if any(self.mean) or self.std != (1.0, 1.0, 1.0):
            blob -= np.array(self.mean, np.float32)[None, :, None, None]
            blob /= np.array(self.std, np.float32)[None, :, None, None]
        normalised: NDArray[np.float32] = blob
        return normalised

    def __post_init__(self) -> None:
        sizes = self.fixed or (self.stride, self.stride)
        if self.stride < 1 or self.scale <= 0 or min(self.std) <= 0:
            raise ModelError(f"stride, scale and std must be positive, not {self.stride}, {self.scale}, {self.std}")
        if any(size < 1 or size % self.stride for size in sizes):
            raise ModelError(f"the model's fixed input {sizes} is not a multiple of its stride, {self.stride}")
