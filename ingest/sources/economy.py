"""Leaves packets undecoded when fewer frames are wanted than a camera sends, and never so many that one is missing."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any

import av
from av.video.frame import PictureType

# So many intervals between key frames are watched before one relies on them, and the longest of them counts.
WATCHED_INTERVALS = 4
# So many pictures are watched before one relies on those that others are decoded from.
WATCHED_PICTURES = 25
# Packets kept for the case that the next key frame is late: more than any camera sends between two that are used.
MAX_KEPT = 500
# Time bases round.
TOLERANCE_S = 0.0005


class References:
    """Leaves the pictures to the decoder that no other one is decoded from, where the others come often enough.

    The decoder knows them (`skip_frame`: `NONREF`), but tells nobody. So I and P pictures are watched first: where they
    come every `longest_s`, those that others are decoded from do. When a camera changes its ways, one picture may come
    late; then all are decoded again, and the camera is watched anew.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s + TOLERANCE_S
        self._anchors: deque[float] = deque(maxlen=WATCHED_PICTURES)
        self._has_others = False
        self._shown_at: float | None = None
        self.only = False

    def shown(self, frame: av.VideoFrame) -> None:
        """The decoder's next picture."""
        if frame.pts is None or frame.time_base is None:
            return
        at = float(frame.pts * frame.time_base)
        if self.only and self._shown_at is not None and not 0 <= at - self._shown_at <= self._longest_s:
            self.only = self._has_others = False
            self._anchors.clear()
        self._shown_at = at
        if frame.pict_type == PictureType.B:
            self._has_others = True
            return
        self._anchors.append(at)
        if not self.only and self._has_others and len(self._anchors) == WATCHED_PICTURES:
            gaps = [later - earlier for earlier, later in pairwise(self._anchors)]
            self.only = min(gaps) > 0 and max(gaps) <= self._longest_s


class Economy:
    """Decodes key frames alone while these come often enough: for 1 frame a second that is a tenth of the work or less,
    and for motion JPEG, all of whose frames are key frames, exactly what is wanted.

    Relied on are only key frames that the decoder turned into a picture at once and by themselves: not those of streams
    that reorder frames, or renew the picture bit by bit. What is passed over is kept until the next key frame is
    decoded. When that one is late, everything kept is decoded after all, and the camera is watched anew.

    Where the camera reorders frames, those that no other one is decoded from are left out, as `References` decides.

    `longest_s` is how far apart decoded frames may be; `timed` is whether frames have times of their own, without which
    those that are left out would be taken for others.
    """

    def __init__(self, longest_s: float, timed: bool = True) -> None:
        self._longest_s = longest_s
        self._intervals: deque[float] = deque(maxlen=WATCHED_INTERVALS)
        self._kept: list[av.Packet[Any]] = []
        self._key_at: float | None = None
        self._decoded_at: float | None = None
        self._prompt = False
        self._references = References(longest_s) if timed else None
        self.keys_only = False
        self.passed_over = 0

    @property
    def references_only(self) -> bool:
        """Whether the decoder is to leave out what no other picture is decoded from."""
        return self._references is not None and self._references.only

    def take(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        """The packets to decode now, in order; `passed_over` counts those that never will be."""
        now = packet.pts * packet.time_base if packet.pts is not None and packet.time_base else None
        at = float(now) if now is not None else None
        if at is None or (self._decoded_at is not None and at < self._decoded_at):
            return self._give_in(packet)  # no timestamps to go by, or they start again
        if packet.is_keyframe:
            self._note_key(at)
        if not self.keys_only:
            self._decoded_at = at
            return [packet]
        if at - (self._decoded_at or 0.0) > self._longest_s + TOLERANCE_S and not packet.is_keyframe:
            return self._give_in(packet)
        if len(self._kept) >= MAX_KEPT:
            return self._give_in(packet)
        if not packet.is_keyframe or self._next_is_soon_enough(at):
            self._kept.append(packet)
            return []
        self.passed_over += len(self._kept)
        self._kept.clear()
        self._decoded_at = at
        return [packet]

    def decoded(self, packet: av.Packet[Any], frames: list[av.VideoFrame]) -> None:
        """What a packet became."""
        if self.references_only and not frames:
            self.passed_over += 1
        if self._references is not None:
            for frame in frames:
                self._references.shown(frame)
        if not packet.is_keyframe:
            return
        # The type counts: a picture that is renewed bit by bit is flagged as a key frame where the renewal begins.
        alone = len(frames) == 1 and frames[0].pts == packet.pts and frames[0].pict_type == PictureType.I
        if not alone:
            self._intervals.clear()
            self.keys_only = False
        self._prompt = alone

    def _note_key(self, at: float) -> None:
        if self._key_at is not None:
            self._intervals.append(at - self._key_at)
        self._key_at = at
        watched = len(self._intervals) == WATCHED_INTERVALS
        if not self.keys_only and watched and self._prompt and max(self._intervals) <= self._longest_s + TOLERANCE_S:
            self.keys_only = True

    def _next_is_soon_enough(self, at: float) -> bool:
        """Whether the key frame after the one at `at` will still do."""
        assert self._decoded_at is not None, "some frame was decoded before key frames alone are"
        return at + max(self._intervals) - self._decoded_at <= self._longest_s + TOLERANCE_S

    def _give_in(self, packet: av.Packet[Any]) -> list[av.Packet[Any]]:
        """Decodes everything that was kept, and watches anew."""
        all_of_them = [*self._kept, packet]
        self._kept = []
        self.keys_only, self._key_at = False, None
        self._intervals.clear()
        self._decoded_at = None
        return all_of_them
