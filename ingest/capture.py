"""When a picture was taken: by the camera's own clock where that is of use, else by when its frames arrive."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ingest.clock import LEAST_STEP_NS, NS, Clock, MediaClock
from ingest.rtcp import CameraTime

BUCKET_NS = NS
BUCKETS = 30
# A camera's clock is believed when its pictures arrive between these after they were taken: a camera without NTP, or
# that sends local time as UTC, is off by more. Going on believing wants less than beginning to.
MAX_EARLY_NS = NS // 10
MAX_DELAY_NS = 5 * NS
MARGIN_NS = NS // 20
# What encoders and networks usually take at most; without the camera's clock it cannot be measured.
UNKNOWN_DELAY_NS = NS // 2
# Until the first seconds have shown how evenly frames arrive.
UNKNOWN_JITTER_NS = NS // 2
# A host's clock that moves by more than this against its monotonic one has been set.
CLOCK_SET_NS = NS


@dataclass(frozen=True, slots=True)
class Capture:
    """When a picture was taken, ns since the epoch, UTC; by which clock; and by how much that may be wrong, ns.

    The uncertainty of a file's pictures is None: nobody knows when they were taken.
    """

    at_ns: int
    clock: Clock
    uncertainty_ns: int | None


class Lateness:
    """How late the quickest of recent frames were: arrival less media time, ns.

    What a network adds to some frames it does not add to all: in any second the quickest has hardly waited. The lower
    quartile of half a minute's quickest follows clocks that drift apart, and no single wrong timestamp decides it.
    """

    def __init__(self) -> None:
        self._quickest: deque[int] = deque(maxlen=BUCKETS)
        self._now: int | None = None
        self._ends_ns = 0
        self._usual = 0
        self.spread_ns = UNKNOWN_JITTER_NS

    def add(self, arrival_ns: int, late_ns: int) -> int:
        """Takes note of a frame and returns the lateness of the quickest."""
        if self._now is None or arrival_ns >= self._ends_ns:
            if self._now is not None:
                self._close(self._now)
            self._now, self._ends_ns = late_ns, arrival_ns + BUCKET_NS
        self._now = min(self._now, late_ns)
        return self._usual if self._quickest else self._now

    def _close(self, quickest: int) -> None:
        self._quickest.append(quickest)
        ranked = sorted(self._quickest)
        self._usual = ranked[len(ranked) // 4]
        self.spread_ns = ranked[3 * len(ranked) // 4] - ranked[0]


class CaptureClock:
    """Capture times of one session's frames. They never go back, unless the host's own clock is set back by a second or
    more, and are never later than the arrival.

    Attributes:
        wrong_by_ns: by how much the camera's clock is behind ours (negative: ahead) while it is not believed.
    """

    def __init__(self, media: MediaClock) -> None:
        self._media = media
        self._breaks = 0
        self._lateness = Lateness()
        self._offset_ns: int | None = None
        self._last_ns = 0
        self.wrong_by_ns: int | None = None

    def read(self, media_ns: int, arrival_ns: int, now_ns: int, camera: CameraTime | None) -> Capture:
        """When the frame was taken that has media time `media_ns`.

        Args:
            media_ns: as `media` told it.
            arrival_ns: monotonic.
            now_ns: the same moment in ns since the epoch.
            camera: what the camera says, if it does.
        """
        offset = now_ns - arrival_ns
        if self._offset_ns is None or abs(offset - self._offset_ns) > CLOCK_SET_NS:
            self._last_ns = 0
        self._offset_ns = offset
        if self._breaks != self._media.breaks:
            self._breaks, self._lateness = self._media.breaks, Lateness()
        by_arrival = media_ns + self._lateness.add(arrival_ns, arrival_ns - media_ns) + offset
        if camera is not None and self._believes(by_arrival - camera.at_ns):
            at, clock, uncertainty = camera.at_ns, Clock.RTCP, LEAST_STEP_NS + camera.spread_ns
        else:
            at, clock, uncertainty = by_arrival, Clock.ARRIVAL, UNKNOWN_DELAY_NS + self._lateness.spread_ns
        told = max(min(max(at, self._last_ns + LEAST_STEP_NS), now_ns), self._last_ns)
        self._last_ns = told
        return Capture(told, clock, uncertainty + abs(told - at))

    def _believes(self, delay_ns: int) -> bool:
        """Whether a picture that took `delay_ns` to arrive, apart from jitter, by the camera's clock may have."""
        margin = 0 if self.wrong_by_ns is None else MARGIN_NS
        believed = margin - MAX_EARLY_NS <= delay_ns <= MAX_DELAY_NS - margin
        self.wrong_by_ns = None if believed else delay_ns
        return believed
