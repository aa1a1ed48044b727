"""Masks in source-frame pixels, as COCO's compressed run lengths.

They lie over the whole frame, as the tools that read them expect, which costs hardly more than over the box: a run is
told by its difference from the last but one, so that the empty part of each column takes one or two characters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.found import Spans
from inference.letterbox import Letterbox
from ingest.compiled import compiled


@dataclass(frozen=True, slots=True)
class Mask:
    """One object's pixels.

    Attributes:
        height, width: of the source frame, pixels.
        counts: lengths of runs of pixels outside and inside in turn, outside first, down the columns from the left, in
            COCO's compression (pycocotools, `rleToString`).
    """

    height: int
    width: int
    counts: str

    def decode(self) -> NDArray[np.bool_]:
        """bool [height, width]."""
        runs = _runs(np.frombuffer(self.counts.encode("ascii"), np.uint8))
        inside = np.arange(len(runs)) % 2 == 1
        return np.repeat(inside, runs).reshape(self.width, self.height).T


def to_source(masks: Spans, letterbox: Letterbox) -> list[Mask]:
    """Masks from input pixels to source-frame pixels: a pixel is inside when its centre is, without interpolation."""
    width, height = letterbox.source
    gain_x, gain_y = letterbox.size[0] / width, letterbox.size[1] / height
    spans, mask_ends = _read_only(masks.spans), _read_only(masks.ends)
    runs, ends = _source_runs(spans, mask_ends, letterbox.left, letterbox.top, gain_x, gain_y, width, height)
    text, text_ends = _compressed(runs, ends)
    characters = text.tobytes().decode("ascii")
    begins = [0, *text_ends[:-1].tolist()]
    return [Mask(height, width, characters[begin:end]) for begin, end in zip(begins, text_ends.tolist(), strict=False)]


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The same, as it is when it comes in a message: compiled code is made anew, for seconds, for any other."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@compiled
def _source_runs(
    spans: NDArray[np.uint16], ends: NDArray[np.int32], left: int, top: int, gain_x: float, gain_y: float,
    width: int, height: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """The run lengths of all masks, one after the other, and where each one's end."""
    runs = np.empty(1024, np.int64)
    run_ends = np.empty(len(ends), np.int64)
    count = 0
    begin = 0
    for n in range(len(ends)):
        end = ends[n]
        told = 0  # up to which pixel of the frame, down the columns, the runs go
        opened = count  # this mask's first run
        at = begin
        first = 0 if begin == end else max(0, math.ceil((spans[begin, 0] - left) / gain_x - 0.5))
        for x in range(first, width):
            column = math.floor((x + 0.5) * gain_x + left)
            while at < end and spans[at, 0] < column:
                at += 1
            if at == end:
                break
            here = at
            while here < end and spans[here, 0] == column:
                above = max(0, math.ceil((spans[here, 1] - top) / gain_y - 0.5))
                below = min(height, math.ceil((spans[here, 2] - top) / gain_y - 0.5))
                here += 1
                if above >= below:
                    continue
                if count + 3 > len(runs):
                    runs = np.concatenate((runs, np.empty_like(runs)))
                outside = x * height + above - told
                if outside == 0 and count > opened:
                    runs[count - 1] += below - above  # goes on from the foot of the last column
                else:
                    runs[count], runs[count + 1] = outside, below - above
                    count += 2
                told = x * height + below
        if told < width * height:
            runs[count] = width * height - told
            count += 1
        run_ends[n] = count
        begin = end
    return runs[:count].copy(), run_ends


@compiled
def _compressed(runs: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """ASCII of all masks and where each one's ends: five bits a character, low ones first, bit 5 says that more come;
    from the fourth run on it is the difference from the last but one that is told."""
    text = np.empty(len(runs) * 7, np.uint8)  # a run has 33 bits at most
    text_ends = np.empty(len(ends), np.int64)
    count = 0
    begin = 0
    for n in range(len(ends)):
        for k in range(begin, ends[n]):
            value = int(runs[k] - runs[k - 2] if k - begin > 2 else runs[k])
            while True:
                bits = value & 31
                value >>= 5
                more = value != -1 if bits & 16 else value != 0
                text[count] = 48 + (bits | 32 if more else bits)
                count += 1
                if not more:
                    break
        text_ends[n] = count
        begin = ends[n]
    return text[:count].copy(), text_ends


@compiled
def _runs(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The run lengths back from their ASCII."""
    runs = np.empty(len(text), np.int64)
    count = 0
    at = 0
    while at < len(text):
        value = np.int64(0)
        shift = 0
        while True:
            bits = np.int64(text[at]) - 48
            at += 1
            value |= (bits & 31) << shift
            shift += 5
            if not bits & 32:
                if bits & 16:
                    value |= -1 << shift
                break
        runs[count] = value + runs[count - 2] if count > 2 else value
        count += 1
    return runs[:count].copy()


def warm_up() -> None:
    """Compiles `to_source`, which takes a second the first time on a machine."""
    to_source(Spans(np.zeros((1, 3), np.uint16), np.ones(1, np.int32)), Letterbox((1, 1), (1, 1), 0, 0, 1, 1))
