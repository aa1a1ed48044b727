"""Chooses which frames to analyse when a stream asks for fewer than its camera sends."""

from __future__ import annotations

from ingest.clock import NS

# Of a step's difference to the camera's usual frame interval this part is believed.
LEARNING = 1 / 16
# Time bases round.
ROUNDING_NS = NS // 2000


class Sampler:
    """Picks frames so that their average rate is `fps`, whatever the camera's rate and however it jitters.

    A frame is due at every `1 / fps` seconds, and the one nearest to that is taken: the first that is not more than
    half of the camera's frame interval early. Taking the first that is not early at all would lose every other one of
    the frames of a camera that jitters at the wanted rate, and would waver between neighbours at whole fractions of it.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval_ns = NS / fps if fps else 0.0
        self._due_ns = 0.0
        self._usual_ns = 0.0  # the camera's frame interval
        self._last_ns: int | None = None

    def takes(self, pts_ns: int) -> bool:
        """Whether to analyse the frame with media time `pts_ns`, which must not go back."""
        if not self._interval_ns:
            return True
        if self._last_ns is not None:
            step = pts_ns - self._last_ns
            self._usual_ns += (step - self._usual_ns) * (LEARNING if self._usual_ns else 1)
        self._last_ns = pts_ns
        early = max(min(self._usual_ns, self._interval_ns) / 2, ROUNDING_NS)
        if pts_ns < self._due_ns - early:
            return False
        # A frame that comes late is made up for, a pause is not.
        self._due_ns = max(self._due_ns + self._interval_ns, float(pts_ns))
        return True
