"""Live video over HTTP: HLS, motion JPEG (multipart/x-mixed-replace) and MPEG-TS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction

import av

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.redact import redact
from ingest.sources.container import Container, tls_options

MICROSECONDS = Fraction(1, 1_000_000)
MOTION_JPEG = ("mpjpeg", "mjpeg")


class HttpSource(Container):
    """What it is, FFmpeg finds out. HLS begins with its newest segment; motion JPEG, which has no timestamps, is timed
    by its arrival. A recording is refused, as it would come as fast as the network lets it.
    """

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self.options = {"rw_timeout": str(int(config.read_timeout * 1_000_000)), "fpsprobesize": "0",
                        "merge_pmt_versions": "1"}  # fmt: skip
        if config.scheme == "https":
            self.options |= tls_options(config)
        if config.is_hls:
            self.format = "hls"
            self.options["live_start_index"] = "-1"

    def _take_video(self, container: av.container.InputContainer) -> None:
        super()._take_video(container)
        if container.duration:
            raise SourceError(
                Reason.REFUSED,
                f"{redact(self._config.url)} is a recording of {container.duration / 1e6:.0f} s and no live stream; "
                "give the path of a local copy",
            )
        if container.format.name in MOTION_JPEG:
            self.frame_rate = None  # FFmpeg supposes 25

    def frames(self) -> Iterator[av.VideoFrame]:
        for frame in super().frames():
            assert self._container is not None
            if self._container.format.name in MOTION_JPEG:
                frame.pts, frame.time_base = time.monotonic_ns() // 1000, MICROSECONDS
            yield frame
