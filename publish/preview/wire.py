"""Between a worker, which has the pictures, and the preview process, which has the viewers.

A stream socket pair for each worker: the preview process asks for views, the worker sends what they consist of while
they are asked for. A view is a stream in one way of showing it:

- `client`: the camera's own packets, untouched; the page draws what was seen.
- `burned`: pictures with what was seen drawn on them, encoded once for all viewers.

Each message is its length (4 bytes, big endian) and a MessagePack array: its kind, then its fields in order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal

import ormsgpack

from ingest.errors import VigilError

MAX_MESSAGE_BYTES = 1 << 24
_LENGTH = struct.Struct(">I")

Overlay = Literal["client", "burned"]


@dataclass(frozen=True, slots=True)
class Watch:
    """To the worker: a view is wanted from now on, or, if it is watched already, is to be as said here.

    Attributes:
        max_side: the longer side of `burned` pictures, in pixels.
        fps: `burned` pictures a second at most.
        bitrate: of `burned`, in bits a second.
    """

    stream: str
    overlay: Overlay
    max_side: int
    fps: float
    bitrate: int


@dataclass(frozen=True, slots=True)
class Unwatch:
    """To the worker: nobody watches the view any more."""

    stream: str
    overlay: Overlay


@dataclass(frozen=True, slots=True)
class WantKey:
    """To the worker: the next `burned` picture is to be a key frame. A camera cannot be asked for one."""

    stream: str


@dataclass(frozen=True, slots=True)
class Video:
    """From the worker: one encoded picture.

    Attributes:
        codec: FFmpeg's name, `h264` or `vp8`.
        session: the stream's; with a new one the view begins anew, with a key frame.
        pts: `Frame.pts` of the picture, in units of `time_base_s`.
        time_base_s: seconds.
        pts_ns: of `burned`: media time of the frame, as `FrameResult.pts` has it; None for packets, which are sent
            before they are decoded.
        arrival_ns: monotonic: of the packet, or of the frame that was drawn on.
        is_key: whether decoding can begin here. H.264 key frames have their parameter sets in front.
        backlog: it was kept since the last key frame, for whoever begins to watch now, and is not new.
        data: H.264 in Annex B, one access unit; VP8 as one frame.
    """

    stream: str
    overlay: Overlay
    codec: str
    session: int
    pts: int
    time_base_s: float
    pts_ns: int | None
    arrival_ns: int
    is_key: bool
    backlog: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """From the worker, while the stream is watched in any way: what was seen in a frame.

    Attributes:
        pts: `Frame.pts` of it: that of the packet which shows it, and of the `burned` picture that was drawn on it.
        result: the `FrameResult` as JSON, without masks and keypoints.
    """

    stream: str
    session: int
    pts: int
    result: bytes


@dataclass(frozen=True, slots=True)
class Unable:
    """From the worker: why a view that was asked for does not come.

    Attributes:
        code: `preview.codec` (browsers do not play the camera's: HEVC, B-frames, MJPEG), `preview.masked` (the stream
            has privacy masks, and packets would show what is behind them), `preview.not_live`, `preview.encoder`. All
            but `preview.not_live` last; after that one the view comes by itself when the stream is live again.
    """

    stream: str
    overlay: Overlay
    code: str
    detail: str


Said = Watch | Unwatch | WantKey | Video | Seen | Unable
_KINDS: dict[str, type[Any]] = {one.__name__: one for one in (Watch, Unwatch, WantKey, Video, Seen, Unable)}
# Of a picture, dataclasses.astuple would take 20 µs.
_FIELDS = {one: attrgetter(*(each.name for each in fields(one))) for one in _KINDS.values()}


class PreviewWireError(VigilError):
    """The other side does not keep to the above."""

    code = "preview.wire"


def packed(said: Said) -> bytes:
    """A message as it goes over the socket."""
    values = _FIELDS[type(said)](said)
    body = ormsgpack.packb((type(said).__name__, *(values if isinstance(values, tuple) else (values,))))
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Takes what comes out of the socket, in pieces of any size."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, piece: bytes) -> Iterator[Said]:
        """The messages that are whole now.

        Raises:
            PreviewWireError
        """
        self._waiting += piece
        while len(self._waiting) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._waiting)
            if length > MAX_MESSAGE_BYTES:
                raise PreviewWireError(f"a message of {length} bytes; at most {MAX_MESSAGE_BYTES} are sent")
            end = _LENGTH.size + length
            if len(self._waiting) < end:
                return
            try:
                kind, *values = ormsgpack.unpackb(bytes(self._waiting[_LENGTH.size : end]))
                said = _KINDS[kind](*values)
            except (ValueError, KeyError, TypeError) as error:
                raise PreviewWireError(f"not a message: {error!r}") from None
            del self._waiting[:end]
            yield said
