"""A stream's newest picture, in its worker: drawn on if that is asked for, and written into memory that was lent."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from ingest.errors import VigilError
from ingest.frame import Frame
from publish.media.jpeg import Drawn, drawn_on, fitted, jpeg_within
from publish.schema import FrameResult
from publish.schema.composer import when

QUALITY = 85


class NoPictureError(VigilError):
    """The stream is not live, and so has no picture that is new."""

    code = "stream.no_picture"


class SamePictureError(VigilError):
    """The newest picture is the one that is known already."""

    code = "stream.same_picture"


class Easel:
    """Makes stills of one stream, one at a time, in a thread of the loop's pool."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._busy = asyncio.Lock()

    async def answer(
        self,
        frame: Frame | None,
        result: FrameResult | None,
        into: int,
        boxes: bool,
        max_side: int,
        max_bytes: int,
        had: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Writes the frame as a JPEG to the file descriptor `into`; `result` is what was last seen in the stream, `had`
        session and seq of a frame of which no picture is wanted.

        Raises:
            NoPictureError, SamePictureError, JpegError
        """
        if frame is None:
            raise NoPictureError(f"stream {self._stream!r} is not live: there is no new picture of it")
        if had is not None and tuple(had) == (frame.session, frame.seq):
            raise SamePictureError(f"stream {self._stream!r} has no newer picture")
        seen = result if boxes and result is not None and result.session == frame.session else None
        async with self._busy:
            size = await asyncio.to_thread(_write, frame, seen, into, max_side, max_bytes)
        return {
            "bytes": size,
            "session": frame.session,
            "seq": frame.seq,
            "captured_at": when(frame.captured_at).isoformat(),
            "boxes_seq": None if seen is None else seen.seq,
        }


def _write(frame: Frame, seen: FrameResult | None, into: int, max_side: int, max_bytes: int) -> int:
    picture = frame.bgr()
    if seen is not None:
        picture = drawn_on(picture, (
            Drawn(one.box, one.class_name if one.track_id is None else f"{one.class_name} {one.track_id}",
                  one.track_id or one.class_id)
            for one in seen.objects
        ))  # fmt: skip
    data = jpeg_within(fitted(picture, max_side), QUALITY, max_side, max_bytes)
    with os.fdopen(os.dup(into), "wb") as memory:
        memory.write(data)
    return len(data)
