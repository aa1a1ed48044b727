"""A lossy network for RTSP over UDP: packets are lost, late and out of order between a real camera and Vigil.

The kernel's netem would do the same, where its module is there and one is root; this needs neither.
"""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from typing import Any

from benchmarks.faults_proxy import Piece, Road

Address = tuple[str, int]
PORT_TRIES = 100


@dataclass(slots=True)
class Weather:
    """Attributes:
    loss: share of the camera's packets that never arrive.
    jitter_s: each of the others is late by up to this many seconds, so later ones overtake it.
    """

    loss: float = 0.0
    jitter_s: float = 0.0


class _Relay(asyncio.DatagramProtocol):
    """One port of ours that camera and viewer both take for the other's."""

    def __init__(self, weather: Weather, rng: random.Random) -> None:
        self.viewer: Address | None = None
        self.camera: Address | None = None
        self._weather = weather
        self._rng = rng
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, sender: Address) -> None:
        if sender == self.viewer:
            self._send(data, self.camera)
        elif self._rng.random() >= self._weather.loss:
            late = self._rng.uniform(0, self._weather.jitter_s)
            asyncio.get_running_loop().call_later(late, self._send, data, self.viewer)

    def _send(self, data: bytes, to: Address | None) -> None:
        if to is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class LossyRoad(Road):
    """As `Road`, for a viewer that asks for UDP: its packets go through ports of ours."""

    def __init__(self, camera_port: int, seed: int = 1) -> None:
        super().__init__(camera_port)
        self.weather = Weather()
        self._rng = random.Random(seed)
        self._relays: list[tuple[_Relay, _Relay]] = []

    async def _serve(self) -> None:
        await super()._serve()
        self._pair = await self._bound()

    async def _close(self) -> None:
        await super()._close()
        for relay in self._pair[1]:
            relay.close()

    async def _bound(self) -> tuple[int, tuple[_Relay, _Relay]]:
        """An even port and the one after it (RFC 3550, 11), and what listens there."""
        for _ in range(PORT_TRIES):
            port = self._rng.randrange(20000, 60000, 2)
            first, second = _Relay(self.weather, self._rng), _Relay(self.weather, self._rng)
            try:
                for number, relay in enumerate((first, second)):
                    await asyncio.get_running_loop().create_datagram_endpoint(
                        lambda relay=relay: relay, local_addr=("127.0.0.1", port + number)
                    )
            except OSError:
                first.close()
                continue
            return port, (first, second)
        raise OSError("no two free UDP ports in a row")

    def request(self, piece: Piece) -> Piece:
        port, relays = self._pair
        asked = re.search(rb"client_port=(\d+)-(\d+)", piece.data)
        if asked is None:
            return piece
        for relay, viewer in zip(relays, (int(asked[1]), int(asked[2])), strict=True):
            relay.viewer = ("127.0.0.1", viewer)
        return Piece(None, piece.data.replace(asked[0], b"client_port=%d-%d" % (port, port + 1)))

    def answer(self, piece: Piece) -> Piece:
        port, relays = self._pair
        told = re.search(rb"server_port=(\d+)-(\d+)", piece.data)
        if told is None:
            return piece
        for relay, camera in zip(relays, (int(told[1]), int(told[2])), strict=True):
            relay.camera = ("127.0.0.1", camera)
        data = piece.data.replace(told[0], b"server_port=%d-%d" % (port, port + 1))
        asked = re.search(rb"client_port=\d+-\d+", data)
        viewer = relays[0].viewer
        if asked is not None and viewer is not None:
            data = data.replace(asked[0], b"client_port=%d-%d" % (viewer[1], viewer[1] + 1))
        return Piece(None, data)
