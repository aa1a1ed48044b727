"""Counts what becomes of a session's packets, and tells when nothing does."""

from __future__ import annotations

from ingest.errors import Reason, SourceError

# A connection may have to wait for the first key frame, this many times as long as for any other one.
KEY_FRAME_PATIENCE = 3


class PacketCounts:
    """Of one connection; `broken`, `skipped` and `late` are for metrics and never go back.

    Attributes:
        broken: packets of video that no picture could be made of.
        skipped: packets of video that were left alone, as fewer frames are wanted.
        late: packets of video that were left alone, as decoding had fallen behind.
    """

    def __init__(self) -> None:
        self.broken = 0
        self.skipped = 0
        self.late = 0
        self.broken_in_row = 0
        self._fruitless = 0
        self._had_key = False
        self._had_frame = False
        self._frame_at = 0.0

    def begin(self, now: float) -> None:
        """Reading begins, from nothing; `now` in monotonic seconds, as below."""
        self._frame_at, self._had_frame, self._had_key = now, False, False
        self.broken_in_row = self._fruitless = 0

    def arrived(self, is_key: bool) -> None:
        """A packet of video is about to be decoded."""
        self._had_key |= is_key
        self._fruitless += 1

    def broke(self) -> None:
        self.broken += 1
        self.broken_in_row += 1

    def decoded(self, now: float) -> None:
        """A packet became at least one frame."""
        self._frame_at, self._had_frame = now, True
        self.broken_in_row = self._fruitless = 0

    def kept(self, now: float) -> None:
        """A packet is not decoded, or not yet, and that is meant."""
        self._frame_at = now

    def passed_over(self, now: float) -> None:
        """A packet is too old to be decoded."""
        self.late += 1
        self.kept(now)

    def fruitless(self, now: float, timeout_s: float) -> SourceError | None:
        """What is wrong when there has been no picture for too long."""
        waited_s = now - self._frame_at
        patience = timeout_s if self._had_frame or self._had_key else KEY_FRAME_PATIENCE * timeout_s
        if waited_s <= patience:
            return None
        since = f"for {waited_s:.1f} s"
        if not self._fruitless:
            if self._had_frame:
                return SourceError(Reason.CHANGED, f"other data arrives, but no more of this video {since}")
            return SourceError(Reason.NO_VIDEO, f"other data arrives, but no video {since}")
        what = f"{self._fruitless} packets of video, {self.broken_in_row} of them broken, and no picture {since}"
        if self.broken_in_row:
            return SourceError(Reason.CORRUPT, what)
        if self._had_frame:
            return SourceError(Reason.STALLED, what)
        return SourceError(Reason.NO_VIDEO, f"{what}: no key frame has come" if not self._had_key else what)
