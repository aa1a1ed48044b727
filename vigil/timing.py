"""The times of one session's frames, and what is shown of them. For the stream's reader thread."""

from __future__ import annotations

import time

import av
import structlog

from ingest.capture import Capture, CaptureClock
from ingest.clock import Clock, MediaClock
from ingest.metrics import IngestMetrics
from ingest.rtcp import SenderReports
from ingest.sources import Source

log = structlog.get_logger()


class SessionTimes:
    """`live`: the pictures are taken now, unlike a file's."""

    def __init__(self, stream: str, source: Source, live: bool, metrics: IngestMetrics) -> None:
        self._stream = stream
        self._source = source
        self._live = live
        self._metrics = metrics
        self._media = MediaClock(source.frame_rate)
        self._capture = CaptureClock(self._media)
        self._shown: Clock | None = None
        self._warned = False

    def media_ns(self, image: av.VideoFrame) -> int:
        """The frame's media time; to be asked once for each, in order."""
        return self._media.read(image.pts, image.time_base)

    def capture(self, image: av.VideoFrame, media_ns: int) -> tuple[int, Capture]:
        """The arrival of the frame that has just been decoded, monotonic ns, and when it was taken."""
        arrival_ns, now_ns = time.monotonic_ns(), time.time_ns()
        if not self._live:
            return arrival_ns, Capture(now_ns, Clock.ARRIVAL, None)
        reports: SenderReports | None = getattr(self._source, "reports", None)
        camera = reports.time_of(image.pts, image.time_base) if reports else None
        taken = self._capture.read(media_ns, arrival_ns, now_ns, camera)
        self._show(taken, now_ns)
        return arrival_ns, taken

    def _show(self, taken: Capture, now_ns: int) -> None:
        self._metrics.camera_delay.labels(self._stream).set((now_ns - taken.at_ns) / 1e9)
        if taken.clock is not self._shown:
            self._shown = taken.clock
            for clock in Clock:
                self._metrics.camera_clock.labels(self._stream, clock.value).set(clock is taken.clock)
        wrong_by_ns = self._capture.wrong_by_ns
        if wrong_by_ns is not None and not self._warned:
            self._warned = True
            log.warning(
                "the camera's clock is wrong; its frames are timed by their arrival",
                code="source.clock",
                stream=self._stream,
                behind_s=round(wrong_by_ns / 1e9, 1),
                mend="have the camera set its clock by NTP, and check its time zone",
            )
