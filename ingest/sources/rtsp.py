"""RTSP and RTSPS cameras."""

from __future__ import annotations

from ingest.config import SourceConfig
from ingest.sources.container import Container, tls_options

# Over UDP: packets that wait for one that is late, and for how long at most, in microseconds; FFmpeg's 500 packets are
# seconds of a slow camera. What is lost then costs its frame, not the session.
REORDER_PACKETS = 64
MAX_DELAY_US = 200_000
# Bytes of the socket's buffer: some key frames of a 4K camera arrive in one burst. The kernel gives what it allows.
SOCKET_BYTES = 4 << 20


class RtspSource(Container):
    """Over TCP, and over UDP where the camera refuses TCP; pictures of `rtsps` never go over UDP, which is in clear."""

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self.options = {
            # FFmpeg's own socket time-out as well as PyAV's: the latter is known to be ignored in places.
            "timeout": str(int(config.read_timeout * 1_000_000)),
            # Measuring the frame rate at the start would hold back, and then deliver at once, two seconds of frames.
            "fpsprobesize": "0",
            "reorder_queue_size": str(REORDER_PACKETS),
            "max_delay": str(MAX_DELAY_US),
            "buffer_size": str(SOCKET_BYTES),
        }
        if config.scheme == "rtsps":
            self.options |= {"rtsp_transport": "tcp", **tls_options(config)}
        elif config.transport == "auto":
            self.options |= {"rtsp_transport": "udp+tcp", "rtsp_flags": "prefer_tcp"}
        else:
            self.options["rtsp_transport"] = config.transport
