"""RTSP and RTSPS cameras, over TCP unless told otherwise."""

from __future__ import annotations

from ingest.config import SourceConfig
from ingest.sources.container import Container


class RtspSource(Container):
    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        microseconds = str(int(config.read_timeout * 1_000_000))
        # FFmpeg's own socket time-out as well as PyAV's: the latter is known to be ignored in places.
        # No buffering ahead of the decoder: a frame is wanted when it arrives.
        self.options = {"rtsp_transport": config.transport, "timeout": microseconds, "fflags": "nobuffer"}
