"""A camera's own packets as they come, for those who watch it in a browser: undecoded and never encoded again.

Browsers begin with a key frame, and a camera may send none for seconds. So the packets since the last one are kept all
the time: for whoever comes next, the picture is there at once. Keeping one is 1 µs and its bytes, which are the
demuxer's and not copied.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol

import av

from ingest.playable import RTP_TIME_BASE, PlayableVideo

# Of what is kept since the last key frame: 8 s of a camera of 8 Mbit/s; 30 s of one that sends 25 pictures a second.
MOST_BYTES, MOST_PACKETS = 8 << 20, 750
# Some cameras have no key frames at all but renew the picture bit by bit.
KEY_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class LivePacket:
    """One encoded picture.

    Attributes:
        codec: `h264`, in Annex B with the parameter sets in front of key frames, or `vp8`.
        pts: in units of `time_base`; that of the frame which it becomes.
        arrival_ns: monotonic.
    """

    codec: str
    session: int
    pts: int
    time_base: Fraction
    arrival_ns: int
    is_key: bool
    data: bytes


class Watcher(Protocol):
    """Hears in the thread in which packets come, with a lock held: it must return at once."""

    def packet(self, packet: LivePacket, backlog: bool) -> None:
        """`backlog`: it came before watching began."""
        ...

    def unplayable(self, why: str) -> None:
        """Browsers do not play this video; nothing more is heard of it."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    packet: av.Packet[Any]
    pts: int
    arrival_ns: int
    key: bytes | None  # a key frame is converted when it comes, anything else if it is wanted


class LivePackets:
    """Of one stream; one watcher, who may pass them on. A lock is held for moments."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_packets: int = MOST_PACKETS) -> None:
        """`most…`: of what is kept since the last key frame; beyond that, nothing is until the next one."""
        self._most_bytes, self._most_packets = most_bytes, most_packets
        self._lock = threading.Lock()
        self._video: PlayableVideo | None = None
        self._fault: str | None = None
        self._session = 0
        self._group: list[_Kept] = []  # from the last key frame on
        self._bytes = 0
        self._newest: int | None = None  # pts since then
        self._watcher: Watcher | None = None
        self._in_step = False  # whether the watcher has all since then
        self._parts = 0  # packets of the newest, if that is a key frame
        self._held = False  # whether more of it is waited for before the watcher gets it
        self._waits_since_ns: int | None = None
        self._wants_key: threading.Event | None = None  # of who can be asked for one

    # -- where packets come

    def begins(self, session: int) -> None:
        """What comes from now on belongs to this session."""
        with self._lock:
            self._session = session
            self._forget_group()

    def begin(self, video: Any, now_ns: int) -> None:
        """A connection begins; `video` is its stream, a PyAV one."""
        with self._lock:
            self._begin(PlayableVideo.of(video))

    def begin_rtp(self, codec: str, wants_key: threading.Event) -> None:
        """A browser or the like begins to send, and whoever did before is no longer heard. `codec`: `h264` or `vp8`;
        `wants_key` has it send a key frame."""
        with self._lock:
            self._wants_key = wants_key
            self._begin(PlayableVideo(codec, RTP_TIME_BASE))

    def comes_from(self, wants_key: threading.Event) -> bool:
        """Whether that is who sends now."""
        return self._wants_key is wants_key

    def keep(self, packet: av.Packet[Any], now_ns: int) -> None:
        """Takes a packet of the video, as it came from the demuxer."""
        pts = packet.pts if packet.pts is not None else packet.dts
        if pts is None or not packet.size:
            return
        with self._lock:
            if self._video is None or self._fault is not None:
                return
            if pts == self._newest and self._parts and self._goes_on(packet):
                return
            self._release()
            key = self._video.begins(self._video.convert(packet)) if packet.is_keyframe else None
            if key is not None:
                self._forget_group()
                self._fail(self._video.fault())
            elif self._newest is not None and pts < self._newest:
                self._fail("its pictures are not sent in their order (B-frames)")
            if self._fault is not None:
                return
            kept = _Kept(packet, pts, now_ns, key)
            self._newest, self._parts = pts, int(key is not None)
            self._add(kept)
            self._held = key is not None and self._video.parts > 1 and bool(self._group)
            if not self._held:
                self._pass_on(kept)

    def end(self) -> None:
        """The connection is over."""
        with self._lock:
            self._video = self._wants_key = None
            self._forget_group()

    # -- who watches

    def watch(self, watcher: Watcher) -> None:
        """Has the watcher hear of packets from now on, and of those since the last key frame now; there must be none
        yet."""
        with self._lock:
            self._watcher, self._in_step, self._waits_since_ns = watcher, False, None
            if self._video is not None:
                self._fail(self._fault or self._video.fault())
            for kept in self._group[: len(self._group) - self._held]:
                self._pass_on(kept, backlog=True)
            if not self._in_step:
                self._ask_for_key()

    def unwatch(self, watcher: Watcher) -> None:
        """It hears of nothing any more, whether it still did or not."""
        with self._lock:
            if self._watcher is watcher:
                self._watcher = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection that packets come from: not all sources have any."""
        return self._video is not None

    @property
    def bytes(self) -> int:
        """What is kept."""
        return self._bytes

    # -- with the lock held

    def _begin(self, video: PlayableVideo) -> None:
        self._video, self._fault = video, None
        self._forget_group()
        self._fail(video.fault())

    def _forget_group(self) -> None:
        self._group, self._bytes, self._newest = [], 0, None
        self._in_step, self._waits_since_ns = False, None
        self._parts, self._held = 0, False

    def _add(self, kept: _Kept) -> None:
        if kept.key is None and not self._group:
            return
        self._group.append(kept)
        self._bytes += kept.packet.size
        if self._bytes > self._most_bytes or len(self._group) > self._most_packets:
            self._group, self._bytes = [], 0

    def _goes_on(self, packet: av.Packet[Any]) -> bool:
        """Whether it is a further part of the newest picture, a key frame; then it is taken."""
        assert self._video is not None
        more = self._video.more_of_key(packet)
        if more is None:
            return False
        self._parts += 1
        known, self._video.parts = self._video.parts, max(self._video.parts, self._parts)
        if not self._group:
            return True  # there was no room for it
        kept = self._group[-1]
        assert kept.key is not None
        self._group[-1] = replace(kept, key=kept.key + more)
        self._bytes += len(more)
        if not self._held:
            self._in_step = False  # the first time the watcher has got a part alone, and waits for the next
        elif self._parts >= known:
            self._release()
        return True

    def _release(self) -> None:
        """What was held is whole."""
        if self._held:
            self._held = False
            self._pass_on(self._group[-1])

    def _pass_on(self, kept: _Kept, backlog: bool = False) -> None:
        if self._watcher is None or self._video is None:
            return
        if kept.key is None and not self._in_step:
            self._wait_for_key(kept.arrival_ns)
            return
        video = self._video
        data = kept.key if kept.key is not None else video.convert(kept.packet)
        self._in_step, self._waits_since_ns = bool(data), None
        if not data:
            return  # damaged, and what builds on it with it
        told = LivePacket(
            video.codec, self._session, kept.pts, video.time_base, kept.arrival_ns, kept.key is not None, data
        )
        self._watcher.packet(told, backlog)

    def _wait_for_key(self, now_ns: int) -> None:
        if self._waits_since_ns is None:
            self._waits_since_ns = now_ns
            self._ask_for_key()
        waited_s = (now_ns - self._waits_since_ns) / 1e9
        if waited_s > KEY_WITHIN_S:
            self._fail(f"no key frame for {waited_s:.0f} s")

    def _ask_for_key(self) -> None:
        if self._wants_key is not None:
            self._wants_key.set()

    def _fail(self, why: str | None) -> None:
        """Nothing of this connection is kept any more."""
        if why is None:
            return
        self._fault = why
        self._forget_group()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.unplayable(why)
