"""MPEG-TS over UDP, unicast (`udp://0.0.0.0:5000`) and multicast (`udp://239.1.2.3:5000`)."""

from __future__ import annotations

from ingest.config import SourceConfig
from ingest.sources.container import Container

# Bytes of the socket's buffer; the kernel gives what it allows.
SOCKET_BYTES = 4 << 20
# FFmpeg's own buffer behind it, in packets of 188 bytes: 5 MB. When it is full, the newest packets are lost.
BUFFER_PACKETS = 28_000


class UdpSource(Container):
    """Listens on the address; a second listener on the same multicast group and port is welcome."""

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self.format = "mpegts"
        self.options = {
            "timeout": str(int(config.read_timeout * 1_000_000)),
            "fpsprobesize": "0",
            "buffer_size": str(SOCKET_BYTES),
            "fifo_size": str(BUFFER_PACKETS),
            "overrun_nonfatal": "1",
            "merge_pmt_versions": "1",  # a video that moves to another PID stays the same stream
        }
