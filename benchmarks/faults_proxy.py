"""The road between a camera and Vigil: TCP that can be cut, jammed, slowed, and RTP that can be spoilt on the way.

It stands in front of a real RTSP server on loopback and understands just enough of RTSP (RFC 2326, 10.12: packets are
interleaved as `$`, channel, length, packet) to touch packets and leave the conversation alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends RST
TRICKLE_S = 0.4
# RTP's fixed header (RFC 3550, 5.1), and the two bytes that say how a NAL unit was split (RFC 6184, 5.8).
RTP_HEADER_BYTES = 12
SPLIT_HEADER_BYTES = 2
RTCP_SENDER_REPORT = 200


class Traffic(StrEnum):
    """What the road does with what comes along."""

    FLOWS = "flows"
    HELD = "held"  # sockets stay open and nothing passes, either way
    TRICKLES = "trickles"  # one byte at a time towards the viewer
    TURNED_AWAY = "turned_away"  # new connections are accepted and closed


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of an RTSP conversation, as it was on the wire; `channel` is None for text."""

    channel: int | None
    data: bytes

    @property
    def packet(self) -> bytes:
        return self.data[4:]

    @classmethod
    def of_packet(cls, channel: int, packet: bytes) -> Piece:
        return cls(channel, struct.pack("!cBH", b"$", channel, len(packet)) + packet)


Spoiler = Callable[[int, bytes], bytes]
"""Gets the channel (even: RTP, odd: RTCP) and the packet, returns the packet that arrives."""


async def read_piece(reader: asyncio.StreamReader) -> Piece:
    """The next message of an RTSP conversation.

    Raises:
        asyncio.IncompleteReadError: the conversation is over.
    """
    first = await reader.readexactly(1)
    if first == b"$":
        head = first + await reader.readexactly(3)
        return Piece(head[1], head + await reader.readexactly(int.from_bytes(head[2:], "big")))
    text = first + await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", text)
    return Piece(None, text + (await reader.readexactly(int(length[1])) if length else b""))


class Road:
    """A proxy on a port of its own. A context manager; runs in a thread with a loop of its own.

    Attributes:
        spoil: what happens to packets towards the viewer.
        lifetimes: of each new connection, after how many messages towards the viewer it is closed; None: never.
        connections: how many were made.
    """

    def __init__(self, camera_port: int, spoil: Spoiler | None = None, lifetimes: Iterator[int] | None = None) -> None:
        self.spoil = spoil
        self.lifetimes = lifetimes
        self.connections = 0
        self._camera_port = camera_port
        self._traffic = Traffic.FLOWS
        self._open: set[asyncio.StreamWriter] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self.loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self.loop.run_forever, name="road", daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Road:
        self._thread.start()
        self.do(self._serve())
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    def url(self, path: str, login: str | None = None) -> str:
        return f"rtsp://{login + '@' if login else ''}127.0.0.1:{self.port}/{path}"

    def set(self, traffic: Traffic) -> None:
        self.do(self._set(traffic))

    def reset(self) -> None:
        """Ends every connection with RST, on both sides."""
        self.do(self._reset())

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    # -- in the loop

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._accepted, sock=self._listening)

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        for task in list(self._conversations):
            task.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    async def _set(self, traffic: Traffic) -> None:
        self._traffic = traffic
        if traffic is Traffic.HELD:
            self._flows.clear()
        else:
            self._flows.set()

    async def _reset(self) -> None:
        for writer in list(self._open):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            writer.transport.abort()

    async def _accepted(self, viewer: asyncio.StreamReader, to_viewer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)
        self.connections += 1
        self._open.add(to_viewer)
        try:
            if self._traffic is not Traffic.TURNED_AWAY:
                await self._flows.wait()
                await self._converse(viewer, to_viewer)
        finally:
            self._open.discard(to_viewer)
            to_viewer.close()

    async def _converse(self, viewer: asyncio.StreamReader, to_viewer: asyncio.StreamWriter) -> None:
        try:
            camera, to_camera = await asyncio.open_connection("127.0.0.1", self._camera_port)
        except OSError:
            return  # the camera is down: the viewer's connection ends, as a router's would
        self._open.add(to_camera)
        lifetime = next(self.lifetimes) if self.lifetimes is not None else None
        ways = [
            asyncio.create_task(self._pass_on(viewer, to_camera, self.request, None)),
            asyncio.create_task(self._pass_on(camera, to_viewer, self.answer, lifetime)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(to_camera)
            to_camera.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        change: Callable[[Piece], Piece],
        lifetime: int | None,
    ) -> None:
        passed = 0
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while lifetime is None or passed < lifetime:
                piece = change(await read_piece(reader))
                half = len(piece.data) // 2
                writer.write(piece.data[:half])
                await self._flows.wait()  # what is held is held in the middle of a message
                if self._traffic is Traffic.TRICKLES and change == self.answer:
                    for place in range(half, len(piece.data)):
                        writer.write(piece.data[place : place + 1])
                        await asyncio.sleep(TRICKLE_S)
                else:
                    writer.write(piece.data[half:])
                await writer.drain()
                passed += 1

    # -- what may be done to messages

    def request(self, piece: Piece) -> Piece:
        """From the viewer to the camera."""
        return piece

    def answer(self, piece: Piece) -> Piece:
        """From the camera to the viewer."""
        if self.spoil is None or piece.channel is None:
            return piece
        return Piece.of_packet(piece.channel, self.spoil(piece.channel, piece.packet))


def flipped(seed: int, share: float) -> Spoiler:
    """Flips one to eight bits in `share` of the RTP payloads."""
    rng = random.Random(seed)

    def spoil(channel: int, packet: bytes) -> bytes:
        first = RTP_HEADER_BYTES + SPLIT_HEADER_BYTES
        if channel % 2 or len(packet) <= first or rng.random() >= share:
            return packet
        damaged = bytearray(packet)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(first, len(damaged))] ^= 1 << rng.randrange(8)
        return bytes(damaged)

    return spoil


def truncated(seed: int, share: float) -> Spoiler:
    """Cuts `share` of the RTP payloads short."""
    rng = random.Random(seed)

    def spoil(channel: int, packet: bytes) -> bytes:
        first = RTP_HEADER_BYTES + SPLIT_HEADER_BYTES
        if channel % 2 or len(packet) <= first or rng.random() >= share:
            return packet
        return packet[: rng.randrange(first, len(packet))]

    return spoil


def shifted(ticks: int) -> Spoiler:
    """Moves the camera's clock by `ticks` of 1/90000 s: in packets, and in sender reports (RFC 3550, 6.4.1)."""

    def spoil(channel: int, packet: bytes) -> bytes:
        if channel % 2 == 0:
            return packet[:4] + _moved(packet[4:8], ticks) + packet[8:]
        if len(packet) >= 20 and packet[1] == RTCP_SENDER_REPORT:
            return packet[:16] + _moved(packet[16:20], ticks) + packet[20:]
        return packet

    return spoil


def _moved(stamp: bytes, ticks: int) -> bytes:
    return ((int.from_bytes(stamp, "big") + ticks) % (1 << 32)).to_bytes(4, "big")
