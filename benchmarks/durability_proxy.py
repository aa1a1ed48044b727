"""The road between Vigil and NATS: acknowledgements that are lost or come twice on the way back.

It understands just enough of NATS' protocol to tell messages apart: lines end in CR LF, those of `MSG` and `HMSG` in
the length of what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Awaitable, Callable
from enum import StrEnum


class Answers(StrEnum):
    """What becomes of the server's messages."""

    FLOW = "flow"
    COME_TWICE = "come_twice"
    SOME_LOST = "some_lost"  # every hundredth
    LOST = "lost"


class Proxy:
    """Listens on a loopback port of its own, in a thread."""

    def __init__(self, port: int) -> None:
        """`port` is the server's."""
        self.answers = Answers.FLOW
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._roads: set[asyncio.StreamWriter] = set()
        self._numbers = itertools.count(1)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Breaks all connections."""
        self._loop.call_soon_threadsafe(lambda: [road.transport.abort() for road in self._roads])

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @staticmethod
    async def _end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._roads |= {writer, to_server[1]}
        there = asyncio.ensure_future(self._carry(reader, to_server[1], self._bytes))
        back = asyncio.ensure_future(self._carry(to_server[0], writer, self._message))
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        for task, road in ((there, writer), (back, to_server[1])):
            task.cancel()
            self._roads.discard(road)
            road.close()

    @staticmethod
    async def _carry(
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        read: Callable[[asyncio.StreamReader], Awaitable[bytes]],
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                writer.write(await read(reader))
                await writer.drain()

    @staticmethod
    async def _bytes(reader: asyncio.StreamReader) -> bytes:
        data = await reader.read(65536)
        if not data:
            raise asyncio.IncompleteReadError(b"", None)
        return data

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        line = await reader.readuntil(b"\r\n")
        if not line.startswith((b"MSG ", b"HMSG ")):
            return line
        message = line + await reader.readexactly(int(line.split()[-1]) + 2)
        match self.answers:
            case Answers.COME_TWICE:
                return message * 2
            case Answers.SOME_LOST if next(self._numbers) % 100 == 0:
                return b""
            case Answers.LOST:
                return b""
        return message
