"""The preview process's connections to the workers, and which worker has which stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection

import structlog

from publish.preview.wire import PreviewWireError, Said, Unpacker, packed

log = structlog.get_logger()

# What is said to workers is small and rare; one that has not read this much of it hangs.
MOST_UNSENT_BYTES = 1 << 20


class WorkerLink(asyncio.Protocol):
    """One worker's end. `said` hears what it says, `over` that nothing more will come."""

    def __init__(self, worker: str, said: Callable[[Said], None], over: Callable[[WorkerLink], None]) -> None:
        self.worker = worker
        self._said = said
        self._over = over
        self._unpacker = Unpacker()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            for said in self._unpacker.feed(data):
                self._said(said)
        except PreviewWireError as error:
            log.error("a worker sends nonsense to the preview; linking it anew", worker=self.worker, error=str(error))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._over(self)

    def send(self, said: Said) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MOST_UNSENT_BYTES:
            self._transport.abort()
            return
        self._transport.write(packed(said))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Links:
    """Lives in the preview process's loop.

    `appeared` hears of streams whose worker can be asked from now on, `vanished` of those whose worker is gone, `broke`
    of a worker whose connection broke and should be made anew.
    """

    def __init__(
        self,
        said: Callable[[Said], None],
        appeared: Callable[[Collection[str]], None],
        vanished: Callable[[Collection[str]], None],
        broke: Callable[[str], None],
    ) -> None:
        self._said = said
        self._appeared, self._vanished, self._broke = appeared, vanished, broke
        self._links: dict[str, WorkerLink] = {}
        self._streams: dict[str, set[str]] = {}  # by worker that is connected
        self._wanted: dict[str, set[str]] = {}  # as last told, be it before the connection stood

    async def link(self, worker: str, streams: Collection[str], end: socket.socket) -> None:
        """Takes a connection to a worker, in place of the one there was."""
        new = WorkerLink(worker, self._said, self._lost)
        self._wanted[worker] = set(streams)
        end.setblocking(False)
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: new, sock=end)
        except OSError as error:  # it died meanwhile
            end.close()
            self._wanted.pop(worker, None)
            log.info("a worker is gone again", worker=worker, error=str(error))
            self._broke(worker)
            return
        before = self._links.pop(worker, None)
        if before is not None:
            before.close()
            self._vanished(self._streams.pop(worker, set()))
        self._links[worker], self._streams[worker] = new, set()
        self.streams(worker, self._wanted[worker])

    def streams(self, worker: str, streams: Collection[str]) -> None:
        """These are the worker's streams from now on."""
        self._wanted[worker] = set(streams)
        if worker in self._links:
            before, self._streams[worker] = self._streams[worker], set(streams)
            self._vanished(before - set(streams))
            self._appeared(set(streams) - before)

    def send(self, stream: str, said: Said) -> bool:
        """Whether there is a worker to send it to."""
        worker = next((worker for worker, streams in self._streams.items() if stream in streams), None)
        link = self._links.get(worker) if worker is not None else None
        if link is None:
            return False
        link.send(said)
        return True

    def _lost(self, link: WorkerLink) -> None:
        if self._links.get(link.worker) is link:
            del self._links[link.worker]
            self._wanted.pop(link.worker, None)
            self._vanished(self._streams.pop(link.worker, set()))
            self._broke(link.worker)

    def close(self) -> None:
        links, self._links = self._links, {}
        for link in links.values():
            link.close()
