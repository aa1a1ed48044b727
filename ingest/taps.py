"""Who else wants a camera's packets, beside the decoder."""

from __future__ import annotations

from typing import Any, Protocol

import av


class PacketTap(Protocol):
    """Called in the reader's thread, which must not wait."""

    def begin(self, video: Any, now_ns: int) -> None:
        """A connection begins; `video` is its stream, a PyAV one. `now_ns`: monotonic, as for frames' arrival."""
        ...

    def keep(self, packet: av.Packet[Any], now_ns: int) -> None:
        """Takes a packet of the video, before it is decoded, if it ever is. Must not change it."""
        ...

    def end(self) -> None:
        """The connection is over."""
        ...
