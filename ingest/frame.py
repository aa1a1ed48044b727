"""The contract of ingest: one decoded frame and when it was taken."""

from __future__ import annotations

from dataclasses import dataclass

import av


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame. The native picture is read-only and shared by everyone downstream.

    Attributes:
        stream: the stream's id.
        session: the uninterrupted connection this frame belongs to; grows with each reconnect and restart.
        seq: +1 per decoded frame of the session, from 0; a gap downstream is a dropped or skipped frame.
        pts_ns: media time within the session; never goes backwards.
        arrival_ns: `time.monotonic_ns()` when decoding ended.
        captured_at: ns since the epoch, UTC: when the picture was taken, as well as that is known.
        image: the decoder's own picture.
    """

    stream: str
    session: int
    seq: int
    pts_ns: int
    arrival_ns: int
    captured_at: int
    image: av.VideoFrame

    @property
    def width(self) -> int:
        """Pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.image.height
