"""The clips of one stream's events: from when to when, and which events share one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ingest.clip import ending_for, write_clip
from ingest.frame import Frame
from ingest.recent import RecentPackets, Span, VideoFormat, VideoPacket
from publish.media.allowance import Allowance
from publish.media.config import ClipsConfig
from publish.media.darkroom import Darkroom
from publish.media.keys import clip_key
from publish.schema import TrackEvent


class Clips:
    """In the worker's loop; packets are kept by the reader's thread, and written by the darkroom's."""

    def __init__(self, stream: str, config: ClipsConfig, darkroom: Darkroom, recent: RecentPackets) -> None:
        self._stream = stream
        self._config = config
        self._darkroom = darkroom
        self._recent = recent
        self._allowance = Allowance(config.per_minute)

    def of(self, event: TrackEvent, frame: Frame | None, now_s: float) -> str | None:
        """The key of the clip that will show the event, if one will.

        Args:
            frame: the frame that it was certain with; it may have happened earlier. None: the session is over.
            now_s: monotonic seconds.
        """
        codec = self._recent.codec
        if event.type not in self._config.events or frame is None or frame.pts is None or codec is None:
            return None
        ago_s = frame.pts_ns / 1e9 - event.pts
        before, after = ago_s + self._config.before, self._config.after - ago_s
        span = Span(frame.pts, frame.arrival_ns, -before, after, self._config.longest)
        if (shared := self._recent.ask(None, span, self._deliver)) is not None:
            return shared
        if not self._allowance.take(now_s):
            self._count("limited")
            return None
        key = clip_key(self._stream, event.captured_at, event.event_id, ending_for(codec))
        return self._recent.ask(key, span, self._deliver)

    def _deliver(self, key: str, video: VideoFormat, packets: Sequence[VideoPacket]) -> None:
        """Called in the reader's thread, or in the loop."""
        work = partial(
            self._darkroom.write, self._stream, "clip", key, lambda file: write_clip(file, video, packets)
        )  # fmt: skip
        if not self._darkroom.take(work, packets):  # which may be as large as frames are
            self._count("dropped")

    def _count(self, outcome: str) -> None:
        self._darkroom.metrics.made.labels(self._stream, "clip", outcome).inc()
