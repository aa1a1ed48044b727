"""The encoded pictures that wait for a publisher's decoder: bounded, and never a picture without those it builds on."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import av

from ingest.activity import Activity
from ingest.live import LivePackets

# About a second. A decoder that is further behind does not catch up; it starts again at a key frame.
MAX_WAITING = 30
ASK_AGAIN_S = 0.5
# Nothing takes a decoder so long, except a bug of its own.
DECODE_WITHIN_S = 10.0
NOBODY = 0

_NAL_START = b"\x00\x00\x00\x01"
_SLICE, _IDR, _SPS = 1, 5, 7


class DecoderWatch:
    """Tells of a publisher's decoder thread what is told of readers: should it hang or crash, its stream did it."""

    def __init__(self, activity: Activity, number: int) -> None:
        """`number` is the stream's in its worker."""
        self._activity = activity
        self._number = number

    def begins(self) -> None:
        """Called by the thread itself."""
        self._activity.read_by(self._number, threading.get_ident())

    def decodes(self) -> None:
        self._activity.enter(self._number, time.monotonic_ns(), DECODE_WITHIN_S)

    def waits(self) -> None:
        self._activity.leave(self._number)

    def ends(self) -> None:
        """Its name may soon be another thread's."""
        self._activity.read_by(self._number, NOBODY)


class EncodedQueue(queue.Queue[Any]):
    """What aiortc's receiver puts encoded pictures into, and its decoder thread takes them from.

    aiortc's own has no bound: a decoder that is too slow would fall behind for ever. Here it skips to the next key
    frame, which `wants_key_frame` asks the publisher for; so does the beginning, when the first key frame was missed.

    Who watches the stream gets the pictures too, by way of `live`, whether the decoder is in time or not.
    """

    def __init__(self, wants_key_frame: threading.Event, watch: DecoderWatch, live: LivePackets | None = None) -> None:
        super().__init__()
        self._live = live
        self._watch = watch
        self.decode_s = 0.0
        self.skipped = 0
        self.codec = self._shown = ""
        self._wants_key_frame = wants_key_frame
        self._asked_at = 0.0
        self._in_step = False
        self._taken_at: float | None = None

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Takes (codec, encoded picture), or None for the end, which goes before whatever waits. Never blocks."""
        if item is None:
            self._clear()
            super().put(None)
            if self._live is not None and self._live.comes_from(self._wants_key_frame):
                self._live.end()
            return
        if self.qsize() >= MAX_WAITING:
            self.skipped += self._clear()
            self._in_step = False
        codec, encoded = item
        afresh = starts_afresh(codec.name, encoded.data)
        if self._live is not None:
            self._show(self._live, codec.name.lower(), encoded, afresh)
        if not self._in_step and not afresh:
            self.skipped += 1
            now = time.monotonic()
            if now - self._asked_at >= ASK_AGAIN_S:
                self._asked_at = now
                self._wants_key_frame.set()
            return
        self._in_step = True
        self.codec = codec.name.lower()
        super().put(item)

    def _show(self, live: LivePackets, codec: str, encoded: Any, afresh: bool) -> None:
        if codec != self._shown:
            self._shown = codec
            live.begin_rtp(codec, self._wants_key_frame)
        elif not live.comes_from(self._wants_key_frame):
            return  # another publisher took over
        packet = av.Packet(encoded.data)
        packet.pts, packet.is_keyframe = encoded.timestamp, afresh
        live.keep(packet, time.monotonic_ns())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The decoder thread decodes between two calls of this; `decode_s` is how long that took."""
        if self._taken_at is None:
            self._watch.begins()
        else:
            self._watch.waits()
            self.decode_s = time.monotonic() - self._taken_at
        item = super().get(block, timeout)
        self._taken_at = time.monotonic()
        if item is None:
            self._watch.ends()
        else:
            self._watch.decodes()
        return item

    def _clear(self) -> int:
        with self.mutex:
            waiting = len(self.queue)
            self.queue.clear()
        return waiting


def starts_afresh(codec: str, data: bytes) -> bool:
    """Whether an encoded picture can be decoded without those before it.

    VP8: the lowest bit of the frame header is 0 (RFC 6386, 9.1). H.264: there are parameter sets or an IDR slice before
    any other slice (annex B, 4-byte start codes).
    """
    if codec == "VP8":
        return bool(data) and not data[0] & 1
    at = data.find(_NAL_START)
    while 0 <= at < len(data) - 4:
        kind = data[at + 4] & 0x1F
        if kind in (_IDR, _SPS):
            return True
        if kind == _SLICE:
            return False
        at = data.find(_NAL_START, at + 4)
    return False
