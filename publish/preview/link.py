"""A worker's end of the socket to the preview process: what is sent never makes the worker wait."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import structlog

from publish.preview.wire import PreviewWireError, Said, Unpacker, packed

log = structlog.get_logger()

# Waiting for a process that reads: two key frames' worth of the largest backlog, or seconds of many streams.
MOST_WAITING_BYTES = 16 << 20
# What the kernel takes at once: a picture of 4K is some hundred KiB.
SOCKET_BYTES = 1 << 20


class PreviewLink(asyncio.Protocol):
    """Lives in the worker's loop."""

    def __init__(self, hear: Callable[[Said], None], lost: Callable[[PreviewLink], None]) -> None:
        """`hear` gets what the other side says; `lost`: it is gone."""
        self._hear = hear
        self._lost = lost
        self._unpacker = Unpacker()
        self._transport: asyncio.WriteTransport | None = None

    async def open(self, end: socket.socket) -> None:
        """Raises OSError: the other side is gone already."""
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, said: Said) -> bool:
        """Whether it will arrive; False: too much waits already, or there is nobody."""
        transport = self._transport
        if transport is None or transport.is_closing() or transport.get_write_buffer_size() > MOST_WAITING_BYTES:
            return False
        transport.write(packed(said))
        return True

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for said in self._unpacker.feed(data):
                self._hear(said)
        except PreviewWireError as error:
            log.error("the preview process speaks another language", code=error.code, error=str(error))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost(self)
