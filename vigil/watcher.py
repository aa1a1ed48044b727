"""What a NATS subscriber sees of a site: figures per stream, and the latest events."""

from __future__ import annotations

import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from nats.aio.msg import Msg

from publish.schema import FrameResult, TrackEvent

RATE_WINDOW_S = 3.0
KEPT_EVENTS = 8


@dataclass(slots=True)
class StreamFigures:
    """What a subscriber saw of one stream."""

    source: str
    frames: int = 0
    events: int = 0
    track_ids: set[tuple[int, int]] = field(default_factory=set)
    tracks_now: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    first: float | None = None

    def fps(self, now: float) -> float:
        """Results per second over the last few seconds."""
        recent = [arrival for arrival in self.arrivals if now - arrival <= RATE_WINDOW_S]
        span = min(RATE_WINDOW_S, now - self.first) if self.first is not None else 0.0
        return len(recent) / span if span > 0.5 else 0.0

    def latency_ms(self) -> float | None:
        """Median from capture to the subscriber."""
        return statistics.median(self.latencies_ms) if self.latencies_ms else None


class Watcher:
    """A subscriber like any user's: it knows only what arrives over NATS."""

    def __init__(self, sources: dict[str, str], began: float) -> None:
        self.streams = {name: StreamFigures(source) for name, source in sources.items()}
        self.events: deque[TrackEvent] = deque(maxlen=KEPT_EVENTS)
        self.types: Counter[str] = Counter()
        self.first_event_s: float | None = None
        self._began = began

    async def on_frame(self, message: Msg) -> None:
        result = FrameResult.model_validate_json(message.data)
        figures = self._figures(result.stream)
        now = time.monotonic()
        figures.first = figures.first or now
        figures.frames += 1
        figures.arrivals.append(now)
        figures.latencies_ms.append((time.time() - result.captured_at.timestamp()) * 1000)
        tracked = [seen for seen in result.objects if seen.track_id is not None]
        figures.tracks_now = len(tracked)
        for seen in tracked:
            assert seen.track_id is not None
            figures.track_ids.add((result.session, seen.track_id))
            figures.seen[seen.class_name] += 1

    def _figures(self, stream: str) -> StreamFigures:
        """Streams that nobody had told of were added meanwhile."""
        return self.streams.setdefault(stream, StreamFigures("added while it ran"))

    async def on_event(self, message: Msg) -> None:
        event = TrackEvent.model_validate_json(message.data)
        if self.first_event_s is None:
            self.first_event_s = time.monotonic() - self._began
        self._figures(event.stream).events += 1
        self.types[event.type.value] += 1
        self.events.append(event)
