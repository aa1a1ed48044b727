"""H.264 key frames that come as several packets, each with some of the picture's slices.

Some cameras, and GStreamer's RTSP server, repeat the parameter sets before each slice of a key frame. FFmpeg's parser
takes every one for the beginning of another picture, and its decoder would make a picture of each part: all that builds
on it is damaged. So the parts are made one packet again. (The decoder can be told that packets are parts; but then it
shows no picture any more once a slice was lost.)
"""

from __future__ import annotations

from collections import deque
from typing import Any

import av

from ingest.annexb import AccessUnit, look

# More than parameter sets and what else comes before a slice.
HEADERS_BYTES = 4096
# So many key frames tell how many parts the next one has: the most of them, as parts may be lost.
KEY_FRAMES = 8


class Parts:
    """Of one video; holds a key frame until it has as many parts as usual, or another picture's packet comes."""

    def __init__(self, codec: str) -> None:
        self._is_h264 = codec == "h264"
        self._held: list[av.Packet[Any]] = []
        self._counts: deque[int] = deque(maxlen=KEY_FRAMES)

    def take(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        """The packets to decode now that this one is here, in order."""
        if not (self._is_h264 and packet.is_keyframe and packet.size):
            return [*self.rest(), packet]
        if _headers(packet).continues:
            return self._go_on(packet)
        before = self.rest()
        self._held.append(packet)
        return [*before, *self._complete()]

    def _go_on(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        if self._held and self._held[-1].pts in (packet.pts, None):  # a session's very first packet may have no time
            self._held.append(packet)
            return self._complete()
        before = self.rest()
        if self._counts:
            self._counts[-1] += 1  # more than usual: its picture is gone, the next one's is waited for
        return [*before, packet]

    def _complete(self) -> list[av.Packet[Any]]:
        """What is held, if it is all."""
        return self.rest() if self._counts and len(self._held) >= max(self._counts) else []

    def rest(self) -> list[av.Packet[Any]]:
        """What is held; no more of it will come."""
        if not self._held:
            return []
        parts, self._held = self._held, []
        self._counts.append(len(parts))
        return [_joined(parts)]


def _headers(packet: av.Packet[Any]) -> AccessUnit:
    return look(bytes(memoryview(packet)[:HEADERS_BYTES]))


def _joined(parts: list[av.Packet[Any]]) -> av.Packet[Any]:
    """One packet; parameter sets between slices, damaged perhaps, would be taken for a change of them."""
    first, *others = parts
    if not others:
        return first
    last = others[-1]
    whole: av.Packet[Any] = av.Packet(
        b"".join([bytes(first), *(bytes(part)[_headers(part).slices_at :] for part in others)])
    )
    whole.pts, whole.dts, whole.time_base, whole.duration = last.pts, last.dts, last.time_base, last.duration
    whole.stream, whole.is_keyframe = last.stream, True
    return whole
