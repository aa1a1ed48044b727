"""RTMP and RTMPS servers."""

from __future__ import annotations

from ingest.config import SourceConfig
from ingest.sources.container import Container, tls_options


class RtmpSource(Container):
    """Plays a live stream; an encoder that publishes needs a server in between."""

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self.format = "flv"
        self.options = {
            "rtmp_live": "live",
            "rw_timeout": str(int(config.read_timeout * 1_000_000)),
            "fpsprobesize": "0",
        }
        if config.scheme == "rtmps":
            self.options |= tls_options(config)
