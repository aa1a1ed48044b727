"""Fits a picture into a model's input and takes boxes back: the geometry Ultralytics uses for the same weights."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.input import InputSpec
from ingest.compiled import compiled

PAD_VALUE = 114


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Scale and padding from a source frame to the smallest rectangular input that holds it.

    As `ultralytics.data.augment.LetterBox(auto=True)`: the longer side becomes `image_size`, the shorter one is padded
    to the next multiple of the stride, half on each side. A model with a fixed input has the picture fitted into that;
    one that wants it stretched has each side scaled by itself.

    Attributes:
        source: (width, height) of the source frame, pixels.
        size: (width, height) of the resized picture within the input.
        left, top: where the resized picture begins.
        width, height: the input's size, multiples of the stride.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def fit(cls, width: int, height: int, image_size: int, spec: InputSpec = InputSpec()) -> Letterbox:  # noqa: B008
        whole_height, whole_width = spec.fixed or (image_size, image_size)
        gain = min(whole_width / width, whole_height / height)
        size = (max(1, round(width * gain)), max(1, round(height * gain)))
        if spec.fit == "stretch":
            size = (whole_width, whole_height)
        if spec.fixed or spec.fit == "stretch":
            pad_w, pad_h = whole_width - size[0], whole_height - size[1]
        else:
            pad_w, pad_h = -size[0] % spec.stride, -size[1] % spec.stride
        centred = spec.fit == "center"
        return cls(
            source=(width, height),
            size=size,
            left=round(pad_w / 2 - 0.1) if centred else 0,
            top=round(pad_h / 2 - 0.1) if centred else 0,
            width=size[0] + pad_w,
            height=size[1] + pad_h,
        )

    def apply(self, picture: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Resizes uint8 [source height, source width, 3] into `out`, uint8 [height, width, 3], and pads around it."""
        right, bottom = self.left + self.size[0], self.top + self.size[1]
        inner = out[self.top : bottom, self.left : right]
        if self.size == self.source:
            inner[:] = picture
        elif inner.flags.c_contiguous:
            cv2.resize(picture, self.size, dst=inner, interpolation=cv2.INTER_LINEAR)
        else:
            inner[:] = cv2.resize(picture, self.size, interpolation=cv2.INTER_LINEAR)
        self.pad(out)

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Where the resized picture is in the input: left, top, width, height."""
        return self.left, self.top, *self.size

    def pad(self, out: NDArray[np.uint8]) -> None:
        """Fills the rest of `out`, uint8 [height, width, 3]."""
        right, bottom = self.left + self.size[0], self.top + self.size[1]
        out[: self.top] = PAD_VALUE
        out[bottom:] = PAD_VALUE
        out[:, : self.left] = PAD_VALUE
        out[:, right:] = PAD_VALUE

    def to_source(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes [N, 4] xyxy from input pixels to source-frame pixels, cut at the frame's edge.

        Each axis has a gain of its own, as the resized picture is whole pixels wide and high; so has Ultralytics'
        `scale_boxes`.
        """
        gains = np.float32(self.size[0] / self.source[0]), np.float32(self.size[1] / self.source[1])
        return _to_source(boxes, (self.left, self.top), gains, self.source)

    def points_to_source(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points [..., 2] x, y from input pixels to source-frame pixels; they may lie outside the frame."""
        gains = np.array([self.size[0] / self.source[0], self.size[1] / self.source[1]], np.float32)
        shifted: NDArray[np.float32] = (points - np.array([self.left, self.top], np.float32)) / gains
        return shifted


@compiled
def _to_source(
    boxes: NDArray[np.float32], start: tuple[int, int], gains: tuple[np.float32, np.float32], limit: tuple[int, int]
) -> NDArray[np.float32]:
    shifted = np.empty((len(boxes), 4), np.float32)
    for n in range(len(boxes)):
        for side in range(4):
            axis = side % 2
            place = (boxes[n, side] - np.float32(start[axis])) / gains[axis]
            shifted[n, side] = min(max(place, np.float32(0)), np.float32(limit[axis]))
    return shifted
