"""Viewers of which only Vigil's cost matters: aiortc's, in a process of their own.

Video packets are counted and not even decrypted, so that the machine is left to Vigil. What was lost is reported as
usual, and nothing is asked for again: what that would cost is no part of the figures.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import httpx
import uvloop
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpreceiver import StreamStatistics

from benchmarks.harness import ROOT

CONNECT_S, LEAVE_S = 30.0, 10.0
# As libwebrtc asks for (kVideoRtpRecvBufferSize); with Linux' default a large key frame is lost before it is read.
RECEIVE_BUFFER_BYTES = 262_144


_HEADER = struct.Struct(">BBHII")
_RTP_AND_RTCP, _RTCP_KINDS = range(128, 192), range(64, 96)  # RFC 7983, RFC 5761
CLOCK_HZ = 90_000


class Numbered(NamedTuple):
    """What a viewer's reports need of a packet; its header is not encrypted."""

    sequence_number: int
    timestamp: int


def only_count(receiver: Any) -> None:
    """From now on video packets end here, before aiortc."""
    protocol = receiver.transport.transport._connection._nominated[1].protocol
    streams, usual = vars(receiver)["_RTCRtpReceiver__remote_streams"], protocol.datagram_received

    def take(data: bytes, address: tuple[Any, ...]) -> None:
        if data[0] not in _RTP_AND_RTCP or data[1] & 0x7F in _RTCP_KINDS:
            usual(data, address)
            return
        _, _, sequence, timestamp, source = _HEADER.unpack_from(data)
        if source not in streams:
            streams[source] = StreamStatistics(CLOCK_HZ)
        streams[source].add(Numbered(sequence, timestamp))

    protocol.datagram_received = take
    own = protocol.transport.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


async def visit(client: httpx.AsyncClient, stream: str, mode: str) -> tuple[Any, str]:
    """A viewer that gets a stream's pictures, and its session."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    video = connection.addTransceiver("video", direction="recvonly")
    connection.createDataChannel("tracks", ordered=False, maxRetransmits=0)
    await connection.setLocalDescription(await connection.createOffer())
    answer = await client.post(
        f"/whep/{stream}?overlay={mode}", content=connection.localDescription.sdp,
        headers={"Content-Type": "application/sdp"},
    )  # fmt: skip
    answer.raise_for_status()
    await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    async with asyncio.timeout(CONNECT_S):
        while video.receiver.transport.state != "connected":
            await asyncio.sleep(0.02)
    only_count(video.receiver)
    return connection, answer.headers["location"]


class Audience:
    """The process. A context manager."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-m", "benchmarks.preview_viewers", url]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, bufsize=1
        )

    def __enter__(self) -> Audience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    @contextmanager
    def watching(self, mode: str, streams: Sequence[str]) -> Iterator[None]:
        """A viewer for each of the streams, which may be named several times."""
        self._do("sit", mode, *streams)
        yield
        self._do("leave")

    def come_and_go(self, stream: str, count: int) -> None:
        """So many viewers, one after the other; every other one leaves without a word to HTTP."""
        self._do("churn", stream, str(count))

    def _do(self, *what: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(*what, file=self._process.stdin)
        if self._process.stdout.readline() != "done\n":
            raise SystemExit(f"viewers could not {' '.join(what)}; see above")


async def _obey(url: str) -> None:
    """Does what the lines of the input say, until it ends."""
    seats: list[tuple[Any, str]] = []
    # Each request on a connection of its own: who comes after a while would find the last one closed.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=CONNECT_S, limits=limits) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            match line.split():
                case ["sit", mode, *streams]:
                    seats = [await visit(client, stream, mode) for stream in streams]
                case ["leave"]:
                    for connection, session in seats:
                        await client.delete(session)
                        await connection.close()
                    seats = []
                case ["churn", stream, count]:
                    await _churn(client, stream, int(count))
            print("done", flush=True)


async def _churn(client: httpx.AsyncClient, stream: str, count: int) -> None:
    for number in range(count):
        connection, session = await visit(client, stream, "client")
        if number % 2:
            await client.delete(session)
        await connection.close()


if __name__ == "__main__":
    uvloop.run(_obey(sys.argv[1]))
