"""A worker's side of tracing: the stages of the frames that are traced, kept until they are fetched.

Which frames are traced follows from their trace's id (`publish/headers.py`), so that what was told of a frame says
whether there is a trace.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from publish.headers import is_sampled, trace_of
from publish.tracing.metrics import TracingMetrics

# Finished traces that wait for the next report, a second at most; a report's message holds as many.
MOST_WAITING = 200

# A stage's name, and when it began and ended in ns of `time.monotonic_ns()`.
Stage = tuple[str, int, int]
# As it crosses processes: stream, session, seq, outcome, attributes, stages.
Told = tuple[str, int, int, str, dict[str, int | str], list[Stage]]


@dataclass(slots=True)
class FrameTrace:
    """What is known of a frame on its way: each stage is noted by whoever has the frame then, the last one ends it."""

    stream: str
    session: int
    seq: int
    stages: list[Stage] = field(default_factory=list)
    attributes: dict[str, int | str] = field(default_factory=dict)
    sent_ns: int = 0  # when it was handed to the detector

    def stage(self, name: str, began_ns: int, ended_ns: int) -> None:
        self.stages.append((name, began_ns, ended_ns))


class Tracer:
    """A worker's. `begin` and `end` may be called from any thread."""

    def __init__(self, site: str, share: float, metrics: TracingMetrics) -> None:
        self._site = site
        self._share = share
        self._metrics = metrics
        self._ended: deque[Told] = deque()
        self._lock = threading.Lock()

    def begin(self, stream: str, session: int, seq: int) -> FrameTrace | None:
        """A trace of the frame, if it is one of those that are traced."""
        if not is_sampled(trace_of(self._site, stream, session, seq)[0], self._share):
            return None
        return FrameTrace(stream, session, seq)

    def end(self, trace: FrameTrace, outcome: str) -> None:
        told = (trace.stream, trace.session, trace.seq, outcome, trace.attributes, trace.stages)
        with self._lock:
            room = len(self._ended) < MOST_WAITING
            if room:
                self._ended.append(told)
        if not room:
            self._metrics.traces.labels("dropped").inc()

    def fetch(self) -> list[Told]:
        """The traces that ended since the last time."""
        with self._lock:
            ended, self._ended = list(self._ended), deque()
        return ended
