"""The contract of ingest: one decoded frame, when it was taken, and its picture behind the stream's privacy masks."""

from __future__ import annotations

from dataclasses import dataclass, field

import av
import numpy as np
from numpy.typing import NDArray

from ingest.clock import Clock
from ingest.privacy import PrivacyMasks
from ingest.shrink import Shrinker, whole


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame. Its picture is seen only through the methods below, which fill what the masks hide.

    The decoder's own picture is never written to, as it may be what the next ones are decoded from, and never handed
    out: `_native` is ingest's alone.

    Attributes:
        stream: the stream's id.
        session: the uninterrupted connection this frame belongs to; grows with each reconnect and restart.
        seq: +1 per decoded frame of the session, from 0; a gap downstream is a dropped or skipped frame.
        pts_ns: media time within the session; never goes backwards.
        arrival_ns: `time.monotonic_ns()` when decoding ended.
        captured_at: ns since the epoch, UTC: when the picture was taken, as well as that is known.
        clock: how that is known.
        uncertainty_ns: by how much it may be wrong; None for a file, whose pictures' times nobody knows.
    """

    stream: str
    session: int
    seq: int
    pts_ns: int
    arrival_ns: int
    captured_at: int
    clock: Clock
    uncertainty_ns: int | None
    _native: av.VideoFrame = field(repr=False)
    _masks: PrivacyMasks | None = field(default=None, repr=False)
    _pictures: list[NDArray[np.uint8]] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def pts(self) -> int | None:
        """The source's own timestamp, in units of its own, `time_base_s`."""
        return self._native.pts

    @property
    def time_base_s(self) -> float | None:
        """Seconds; None where the source does not say."""
        base = self._native.time_base
        return float(base) if base else None

    @property
    def width(self) -> int:
        """Pixels."""
        return self._native.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self._native.height

    @property
    def colorspace(self) -> int:
        """Which YUV it is: ITU-T H.273, table 4."""
        return self._native.colorspace

    @property
    def color_range(self) -> int:
        """FFmpeg's `AVColorRange`."""
        return self._native.color_range

    def bgr(self) -> NDArray[np.uint8]:
        """The picture, masked, uint8 [height, width, 3] BGR, read-only; converted once and kept with the frame."""
        if not self._pictures:
            picture = whole(self._native)
            if self._masks is not None:
                self._masks.fill(picture)
            picture.flags.writeable = False
            self._pictures.append(picture)
        return self._pictures[0]

    def shrink(self, shrinker: Shrinker, slot: NDArray[np.uint8], place: tuple[int, int, int, int]) -> None:
        """Writes the picture, masked, into a part of `slot`, as `Shrinker.shrink` does."""
        shrinker.shrink(self._native, slot, place)
        if self._masks is not None:
            self._masks.fill_shrunk((self.width, self.height), slot, place)
