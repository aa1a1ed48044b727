"""From a frame in GPU memory to a model's input, in one pass: colour, resize and padding, without leaving the device.

Integers throughout, so that every way of computing gives the same bits: colours as FFmpeg's own conversion to BGR
(nearest chroma, 16-bit products cut off), which the CPU path uses; between pixels as OpenCV's INTER_LINEAR, whose
weights have 11 bits. A kernel in Triton's language does it; where Triton cannot compile, PyTorch's operations do, on
the device too, and the log says so.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import structlog
import torch
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from inference.letterbox import PAD_VALUE, Letterbox
from ingest.device_frame import DeviceFrame
from ingest.frame import Frame
from ingest.shrink import BT601, CHROMA

log = structlog.get_logger()

WEIGHT_BITS = 11  # OpenCV's INTER_RESIZE_COEF_BITS


@dataclass(frozen=True, slots=True)
class Colors:
    """Offset and gain of luma, and the gains of V to red, U and V to green and U to blue, in 1/8192 of a level."""

    offset: int
    gain: int
    v_red: int
    u_green: int
    v_green: int
    u_blue: int

    @classmethod
    def of(cls, frame: Frame) -> Colors:
        """By the frame's own tags; without any, BT.601 in video range, as FFmpeg takes it to be."""
        red, blue, green_u, green_v = CHROMA.get(frame.colorspace, CHROMA[BT601])
        gain, offset = 65536 * 255 // 219, 16 * 8
        if frame.color_range == ColorRange.JPEG:
            gain, offset = 65536, 0
            red, blue, green_u, green_v = (value * 224 // 255 for value in (red, blue, green_u, green_v))
        return cls(offset, *((value + 4) >> 3 for value in (gain, red, -green_u, -green_v, blue)))


@dataclass(frozen=True, slots=True)
class Samples:
    """Where the pixels of a resized picture come from, on the device.

    Attributes:
        columns, rows: int32 [3, resized width] and [3, resized height]: the first and the second source pixel, and the
            second one's weight in 1/2048.
    """

    columns: torch.Tensor
    rows: torch.Tensor

    @classmethod
    def of(cls, letterbox: Letterbox, device: torch.device) -> Samples:
        (width, height), (resized_width, resized_height) = letterbox.source, letterbox.size
        return cls(_axis(width, resized_width, device), _axis(height, resized_height, device))


def _axis(source: int, resized: int, device: torch.device) -> torch.Tensor:
    at: NDArray[Any] = (np.arange(resized) + 0.5) * (source / resized) - 0.5
    at = np.clip(at, 0, source - 1)
    first = np.floor(at).astype(np.int32)
    second = np.minimum(first + 1, source - 1)
    weight = np.rint((at - first) * (1 << WEIGHT_BITS)).astype(np.int32)
    return torch.from_numpy(np.stack([first, second, weight])).to(device)


def fit_by_torch(
    luma: torch.Tensor, chroma: torch.Tensor, colors: Colors, samples: Samples, letterbox: Letterbox, out: torch.Tensor
) -> None:
    """Fills `out` as `Letterbox.apply` would, on whatever device the tensors are.

    Args:
        luma: uint8 or uint16 [height, width]; 16 bits are filled from the top.
        chroma: [height // 2, width // 2, 2], U and V.
        colors: what they mean.
        samples: of this letterbox, on the same device.
        letterbox: from the frame to `out`.
        out: uint8 [letterbox.height, letterbox.width, 3], BGR.
    """
    rows, columns = samples.rows.long(), samples.columns.long()
    down, right = rows[2][:, None, None], columns[2][None, :, None]
    whole = 1 << WEIGHT_BITS

    def pixels(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return _bgr_by_torch(luma, chroma, colors, row, column).long()

    above = pixels(rows[0], columns[0]) * (whole - right) + pixels(rows[0], columns[1]) * right
    below = pixels(rows[1], columns[0]) * (whole - right) + pixels(rows[1], columns[1]) * right
    mixed = (above * (whole - down) + below * down + (1 << (2 * WEIGHT_BITS - 1))) >> (2 * WEIGHT_BITS)
    left, top, width, height = letterbox.place
    out.fill_(PAD_VALUE)
    out[top : top + height, left : left + width] = mixed.to(torch.uint8)


def _bgr_by_torch(
    luma: torch.Tensor, chroma: torch.Tensor, colors: Colors, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """The BGR pixels, int32 [rows, columns, 3], at these places of the source."""
    y = _eighths(luma[rows[:, None], columns[None]])
    chroma_rows = (rows // 2).clamp(max=chroma.shape[0] - 1)
    chroma_columns = (columns // 2).clamp(max=chroma.shape[1] - 1)
    u, v = (_eighths(part) - 1024 for part in chroma[chroma_rows[:, None], chroma_columns[None]].unbind(-1))
    level = ((y - colors.offset) * colors.gain) >> 16
    blue = level + ((u * colors.u_blue) >> 16)
    green = level + ((u * colors.u_green) >> 16) + ((v * colors.v_green) >> 16)
    red = level + ((v * colors.v_red) >> 16)
    return torch.stack([blue, green, red], -1).clamp(0, 255)


def _eighths(values: torch.Tensor) -> torch.Tensor:
    """Levels of 8 bits in eighths, int32."""
    wide = values.to(torch.int32)
    return wide >> 5 if values.dtype == torch.uint16 else wide << 3


@cache
def _kernel(device: torch.device) -> Any:
    """`fit_by_triton` if it works on this device, else `fit_by_torch`; tried once, on a small picture."""
    try:
        from inference.preprocess_kernel import fit_by_triton

        # The kernel is launched on the current device, wherever its arguments are.
        with torch.cuda.device(device):
            _try(fit_by_triton, device)
    except Exception as error:  # Triton fails in many ways: no compiler, no headers, a GPU too old
        log.warning("no Triton kernel on this machine; PyTorch's operations are slower", error=str(error)[:500])
        return fit_by_torch
    return fit_by_triton


def _try(fit: Any, device: torch.device) -> None:
    """Raises whatever goes wrong on a black picture."""
    luma = torch.zeros((16, 16), dtype=torch.uint8, device=device)
    letterbox = Letterbox((16, 16), (8, 8), 0, 0, 8, 8)
    out = torch.full((8, 8, 3), 7, dtype=torch.uint8, device=device)
    fit(luma, luma[:8].view(8, 8, 2), Colors(0, 8192, 0, 0, 0, 0), Samples.of(letterbox, device), letterbox, out)
    if int(out.sum()) != 0:
        raise RuntimeError("the kernel computes something else")


def prepare(device: torch.device) -> None:
    """Starts CUDA in this process and compiles the kernel: seconds that no stream should wait for."""
    with torch.cuda.device(device):
        _kernel(device)
        torch.cuda.synchronize(device)


class DeviceLetterboxer:
    """For the frames of one stream, in one thread, on a CUDA stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._fit = _kernel(device)
        self._stream = torch.cuda.Stream(device)
        self._done = torch.cuda.Event(blocking=True)  # this thread sleeps until it, and does not spin
        self._samples: dict[Letterbox, Samples] = {}

    def apply(self, frame: DeviceFrame, letterbox: Letterbox, out: torch.Tensor) -> None:
        """Fills `out`, uint8 [letterbox.height, letterbox.width, 3] BGR; on return it is complete and the frame's
        memory is no longer read, for every process and stream of the device.

        FFmpeg copies a decoded frame on the device's default stream; ours waits for what that one has been given.
        """
        try:
            self._apply(frame, letterbox, out)
        except torch.AcceleratorError as error:
            # A process that has had such an error can never use the GPU again; another one takes its place.
            log.error("the GPU failed; this worker ends", error=str(error))
            os._exit(1)

    def _apply(self, frame: DeviceFrame, letterbox: Letterbox, out: torch.Tensor) -> None:
        with torch.inference_mode(), torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            samples = self._samples.get(letterbox)
            if samples is None:
                samples = Samples.of(letterbox, self._device)
                self._samples = {letterbox: samples}
            self._stream.wait_stream(torch.cuda.default_stream(self._device))
            frame.shrink_on_device(
                lambda luma, chroma: self._fit(luma, chroma, Colors.of(frame), samples, letterbox, out),
                out, letterbox.place,
            )  # fmt: skip
            self._done.record(self._stream)
        self._done.synchronize()
