"""A camera's own packets of the last seconds, from key frames on: what clips are cut from.

A packet's time is when it is to be decoded, in units of its stream's time base, or when it is to be shown where that
is not told.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import structlog

from ingest.redact import redact

log = structlog.get_logger()

# Times that go back or forth by more than this are those of another recording.
BACK_S, FORTH_S = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class VideoPacket:
    """`pts` and `dts` in units of the stream's time base."""

    data: bytes
    pts: int
    dts: int
    duration: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What video it is. `sample` is a file in FFmpeg's NUT format with one key frame, which tells all else about it."""

    codec: str
    time_base: Fraction
    sample: bytes


@dataclass(frozen=True, slots=True)
class Span:
    """What a clip is to show, by a frame that has been decoded.

    Attributes:
        at: that frame's timestamp, `Frame.pts`.
        arrival_ns: its arrival.
        since_s, until_s: from when to when, in seconds from that frame; before it is negative.
        longest_s: no clip gets longer by those that share it.
    """

    at: int
    arrival_ns: int
    since_s: float
    until_s: float
    longest_s: float


@dataclass(slots=True)
class _Clip:
    """One to come: it ends with the first packet from `until` on."""

    key: str
    since: float
    until: float
    deliver: Deliver


Deliver = Callable[[str, VideoFormat, Sequence[VideoPacket]], None]
"""Gets a clip's key and its packets, the first a key frame; none when there were none. Must return at once."""


class RecentPackets:
    """Of one stream. The reader's thread keeps packets; others ask for clips. A lock is held for moments."""

    def __init__(self, stream: str, keep_s: float, most_bytes: int) -> None:
        """Holds `keep_s` seconds and up to the key frame before, and more for clips that are not over; within
        `most_bytes`, in which clips may have to end early."""
        self._stream = stream
        self._keep_s = keep_s
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._packets: deque[VideoPacket] = deque()
        self._bytes = 0
        self._clips: list[_Clip] = []
        self._video: Any = None
        self._size = (0, 0)
        self._format: VideoFormat | None = None
        self._began_ns = 0

    # -- the reader's thread

    def begin(self, video: Any, now_ns: int) -> None:
        """A connection begins; `video` is its stream, a PyAV one. `now_ns`: monotonic, as for frames' arrival."""
        with self._lock:
            self._restart(now_ns)
            self._video = video

    def keep(self, packet: av.Packet[Any], now_ns: int) -> None:
        """Takes a packet of the video, before it is decoded."""
        dts = packet.dts if packet.dts is not None else packet.pts
        if dts is None or not packet.size:
            return
        kept = VideoPacket(
            bytes(packet), packet.pts if packet.pts is not None else dts, dts, packet.duration or 0, packet.is_keyframe
        )
        with self._lock:
            if self._video is None:
                return
            if self._is_other(kept):
                self._restart(now_ns)
            if self._format is None:
                if not kept.is_key:
                    return
                self._size = self._seen_size()
                self._format = self._describe(kept)
                if self._format is None:
                    self._video = None  # no clips of this connection; its frames go on
                    return
            self._packets.append(kept)
            self._bytes += len(kept.data)
            over = [clip for clip in self._clips if dts >= clip.until]
            self._deliver(over)
            if kept.is_key or self._bytes > self._most_bytes:
                self._trim()

    def end(self) -> None:
        """The connection is over, and with it the clips that were not."""
        with self._lock:
            self._restart(0)
            self._video = None

    # -- others

    @property
    def codec(self) -> str | None:
        """FFmpeg's name of it, `h264`; None while nothing is kept."""
        described = self._format
        return described.codec if described is not None else None

    def ask(self, key: str | None, span: Span, deliver: Deliver) -> str | None:
        """Asks for a clip, which is delivered when it is over, in some thread.

        Args:
            key: what to call it; None: only one asked for before will do.

        Returns:
            The key of the clip that will show it: one asked for before, if that is not over and may become as long.
            None: the connection that the frame came from is over.
        """
        with self._lock:
            if self._format is None or span.arrival_ns < self._began_ns:
                return None
            unit = float(self._format.time_base)
            since, until = span.at + span.since_s / unit, span.at + span.until_s / unit
            for clip in self._clips:
                if since <= clip.until and max(until, clip.until) - min(clip.since, since) <= span.longest_s / unit:
                    clip.until = max(clip.until, until)
                    return clip.key
            if key is None:
                return None
            clip = _Clip(key, since, until, deliver)
            self._clips.append(clip)
            if self._packets and self._packets[-1].dts >= until:
                self._deliver([clip])
            return key

    @property
    def bytes(self) -> int:
        return self._bytes

    # -- with the lock held

    def _is_other(self, packet: VideoPacket) -> bool:
        """Whether what was kept and this packet do not belong together."""
        if not self._packets or self._format is None:
            return False
        step_s = (packet.dts - self._packets[-1].dts) * float(self._format.time_base)
        if not -BACK_S <= step_s <= FORTH_S:
            return True
        if self._size == (0, 0):  # not known before there was a picture
            self._size = self._seen_size()
        return packet.is_key and self._seen_size() != self._size

    def _seen_size(self) -> tuple[int, int]:
        context = self._video.codec_context
        return context.width, context.height

    def _describe(self, key: VideoPacket) -> VideoFormat | None:
        """What the video is; None when FFmpeg cannot say it."""
        file = io.BytesIO()
        try:
            with av.open(file, "w", format="nut") as container:
                stream = container.add_stream_from_template(self._video)
                packet = av.Packet(key.data)
                packet.stream, packet.time_base, packet.is_keyframe = stream, self._video.time_base, True
                packet.pts = packet.dts = 0
                container.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            log.warning("no clips: FFmpeg does not write this video", stream=self._stream, error=redact(str(error)))
            return None
        return VideoFormat(self._video.codec_context.codec.canonical_name, self._video.time_base, file.getvalue())

    def _restart(self, now_ns: int) -> None:
        self._deliver(list(self._clips))
        self._packets.clear()
        self._bytes, self._format, self._began_ns = 0, None, now_ns

    def _deliver(self, clips: list[_Clip]) -> None:
        for clip in clips:
            self._clips.remove(clip)
            assert self._format is not None, "clips are asked for when there is something to cut them from"
            clip.deliver(clip.key, self._format, self._between(clip.since, clip.until))

    def _between(self, since: float, until: float) -> list[VideoPacket]:
        """From the last key frame before, or else the first one, and before `until`."""
        first = 0
        for n, packet in enumerate(self._packets):
            if packet.dts > since:
                break
            if packet.is_key:
                first = n
        return [packet for n, packet in enumerate(self._packets) if n >= first and packet.dts < until]

    def _trim(self) -> None:
        """Lets go of what no clip needs any more, a group of pictures at a time."""
        assert self._format is not None, "something has just been kept"
        oldest = self._packets[-1].dts - self._keep_s / float(self._format.time_base)
        oldest = min([oldest, *(clip.since for clip in self._clips)])
        while (second := self._second_key()) is not None and self._packets[second].dts <= oldest:
            self._drop(second)
        if self._bytes > self._most_bytes:
            self._deliver(list(self._clips))
        while self._bytes > self._most_bytes:
            second = self._second_key()
            if second is None:
                self._drop(len(self._packets))
                self._format = None  # until the next key frame
                return
            self._drop(second)

    def _second_key(self) -> int | None:
        return next((n for n, packet in enumerate(self._packets) if n and packet.is_key), None)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._bytes -= len(self._packets.popleft().data)
