"""The kernel behind `inference/preprocess_cuda.py`, in Triton's language. Imported where there is a GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from inference.letterbox import PAD_VALUE, Letterbox
from inference.preprocess_cuda import WEIGHT_BITS, Colors, Samples

BLOCK = 128
# One compiled variant for all sizes: Triton would else compile anew for each integer that is 1 or divides by 16.
SIZES = [
    "luma_pitch", "chroma_pitch", "chroma_width", "chroma_height", "left", "top", "inner_width", "inner_height",
    "width", "offset", "gain", "v_red", "u_green", "v_green", "u_blue",
]  # fmt: skip


def fit_by_triton(
    luma: torch.Tensor, chroma: torch.Tensor, colors: Colors, samples: Samples, letterbox: Letterbox, out: torch.Tensor
) -> None:
    """As `fit_by_torch`, bit for bit; on the current CUDA stream."""
    left, top, width, height = letterbox.place
    grid = (letterbox.height, triton.cdiv(letterbox.width, BLOCK))
    _fit[grid](
        luma, chroma, samples.columns, samples.rows, out,
        luma.stride(0), chroma.stride(0), chroma.shape[1], chroma.shape[0], left, top, width, height, letterbox.width,
        colors.offset, colors.gain, colors.v_red, colors.u_green, colors.v_green, colors.u_blue,
        deep=luma.dtype == torch.uint16, pad=PAD_VALUE, bits=WEIGHT_BITS, block=BLOCK,
    )  # fmt: skip


@triton.jit(do_not_specialize=SIZES)  # type: ignore[untyped-decorator]
def _fit(  # type: ignore[no-untyped-def]
    luma, chroma, columns, rows, out,
    luma_pitch, chroma_pitch, chroma_width, chroma_height, left, top, inner_width, inner_height, width,
    offset, gain, v_red, u_green, v_green, u_blue,
    deep: tl.constexpr, pad: tl.constexpr, bits: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """One program: `block` pixels of one line of the output. Pitches are in elements."""
    x = tl.program_id(1) * block + tl.arange(0, block)
    line = tl.program_id(0) + x * 0
    row = line - top
    column = x - left
    inside = (row >= 0) & (row < inner_height) & (column >= 0) & (column < inner_width)
    first_row = tl.load(rows + row, mask=inside, other=0)
    second_row = tl.load(rows + inner_height + row, mask=inside, other=0)
    down = tl.load(rows + 2 * inner_height + row, mask=inside, other=0)
    first_column = tl.load(columns + column, mask=inside, other=0)
    second_column = tl.load(columns + inner_width + column, mask=inside, other=0)
    right = tl.load(columns + 2 * inner_width + column, mask=inside, other=0)

    whole: tl.constexpr = 1 << bits
    blue = x * 0
    green = x * 0
    red = x * 0
    for tap in tl.static_range(4):
        if tap < 2:
            source_row = first_row
            weight = whole - down
        else:
            source_row = second_row
            weight = down
        if tap % 2 == 0:
            source_column = first_column
            weight = weight * (whole - right)
        else:
            source_column = second_column
            weight = weight * right
        chroma_row = tl.minimum(source_row // 2, chroma_height - 1)
        chroma_column = tl.minimum(source_column // 2, chroma_width - 1)
        at = chroma + chroma_row * chroma_pitch + chroma_column * 2
        y = tl.load(luma + source_row * luma_pitch + source_column, mask=inside, other=0).to(tl.int32)
        u = tl.load(at, mask=inside, other=0).to(tl.int32)
        v = tl.load(at + 1, mask=inside, other=0).to(tl.int32)
        if deep:
            y = y >> 5
            u = (u >> 5) - 1024
            v = (v >> 5) - 1024
        else:
            y = y << 3
            u = (u << 3) - 1024
            v = (v << 3) - 1024
        level = ((y - offset) * gain) >> 16
        blue += tl.minimum(tl.maximum(level + ((u * u_blue) >> 16), 0), 255) * weight
        green += tl.minimum(tl.maximum(level + ((u * u_green) >> 16) + ((v * v_green) >> 16), 0), 255) * weight
        red += tl.minimum(tl.maximum(level + ((v * v_red) >> 16), 0), 255) * weight

    half: tl.constexpr = 1 << (2 * bits - 1)
    target = out + (line * width + x) * 3
    visible = x < width
    tl.store(target, tl.where(inside, (blue + half) >> (2 * bits), pad).to(tl.uint8), mask=visible)
    tl.store(target + 1, tl.where(inside, (green + half) >> (2 * bits), pad).to(tl.uint8), mask=visible)
    tl.store(target + 2, tl.where(inside, (red + half) >> (2 * bits), pad).to(tl.uint8), mask=visible)
