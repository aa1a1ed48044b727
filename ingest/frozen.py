"""Notices a camera that sends one and the same picture for ever."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS
from ingest.device_frame import DeviceFrame
from ingest.frame import Frame

# Two looks a second, each at every eighth line of the luma: clocks and captions in the picture are higher than that, so
# that one that runs is seen. 0.1 ms for 1080p.
LOOK_EVERY_NS = NS // 2
EVERY_LINE = 8
LONGEST_TIMEOUT_S = 3600.0


class FrozenPicture:
    """Of one stream, across its sessions.

    Encoders repeat a picture exactly between two key frames when nothing moves and bits are scarce, for as long as 20 s
    with "smart" codecs, and the next key frame differs in some bits. Longer than `timeout_s` without a bit of
    difference is a frozen encoder, or a picture that really is still: a covered lens, a slide. A new connection tells
    them apart. When it shows the same picture again, the time-out doubles, up to an hour, until it is another one.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._first_s = timeout_s
        self._timeout_s = timeout_s or 0.0
        self._digest: int | None = None
        self._same_since_ns = 0
        self._looked_ns = 0
        self._frozen: int | None = None

    def begin(self, now_ns: int) -> None:
        """A new session."""
        self._digest, self._looked_ns, self._same_since_ns = None, 0, now_ns

    def look(self, frame: Frame) -> float | None:
        """The seconds for which the picture has been the same when these are too many; else None."""
        now_ns = frame.arrival_ns
        if self._first_s is None or now_ns - self._looked_ns < LOOK_EVERY_NS:
            return None
        self._looked_ns = now_ns
        digest = zlib.crc32(_luma(frame).data)
        if digest != self._digest:
            self._digest, self._same_since_ns = digest, now_ns
            if digest != self._frozen:
                self._timeout_s, self._frozen = self._first_s, None
            return None
        same_s = (now_ns - self._same_since_ns) / NS
        if same_s < self._timeout_s:
            return None
        self._frozen = digest
        self._timeout_s = min(LONGEST_TIMEOUT_S, 2 * self._timeout_s)
        return same_s


def _luma(frame: Frame) -> NDArray[np.uint8]:
    """Some lines of the picture's first plane: luma in every format that cameras' decoders give; contiguous."""
    if isinstance(frame, DeviceFrame):
        lines: NDArray[np.uint8] = frame._planes()[0][::EVERY_LINE].cpu().numpy()
        return np.ascontiguousarray(lines)
    plane = frame._native.planes[0]
    memory = np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size]
    # The end of a line is padding, which decoders leave as it was.
    return np.ascontiguousarray(memory.reshape(plane.height, plane.line_size)[::EVERY_LINE, : plane.width])
