"""Chooses which frames to analyse when a stream asks for fewer than its camera sends."""

from __future__ import annotations

from ingest.clock import NS


class Sampler:
    """Picks frames so that their average rate is `fps`, whatever the camera's rate and however it jitters."""

    def __init__(self, fps: float | None) -> None:
        self._interval_ns = round(NS / fps) if fps else 0
        self._due_ns = 0

    def takes(self, pts_ns: int) -> bool:
        """Whether to analyse the frame with media time `pts_ns`."""
        if not self._interval_ns:
            return True
        # A frame half a millisecond early is the one that was meant: time bases round.
        if pts_ns + 500_000 < self._due_ns:
            return False
        behind = pts_ns - self._due_ns > self._interval_ns
        self._due_ns = (pts_ns if behind else self._due_ns) + self._interval_ns
        return True
