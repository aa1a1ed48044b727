"""A WebRTC connection to ourselves, and questions to STUN and TURN servers: what a peer would meet with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiortc import RTCPeerConnection

from ingest.errors import VigilError
from ingest.webrtc.config import IceServer, WebRtcConfig
from ingest.webrtc.peer import confine, new_connection


class UnconnectedError(VigilError):
    """Two connections on this machine do not find each other."""

    code = "webrtc.unconnected"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where a peer may reach us; `kind` is host, srflx (as a STUN server sees us) or relay (a TURN server's)."""

    host: str
    port: int
    kind: str


async def connect_to_ourselves(config: WebRtcConfig, timeout_s: float) -> list[Candidate]:
    """Connects as a publisher on this machine would, ICE and DTLS, through the configured ports, and hangs up.

    Returns:
        What we told the publisher of where we are. STUN and TURN servers are not asked.

    Raises:
        NoPortError, UnconnectedError
    """
    local = config.model_copy(update={"ice_servers": []})
    ours, publisher = new_connection(local), new_connection(WebRtcConfig())
    try:
        async with asyncio.timeout(timeout_s):
            publisher.addTransceiver("video", direction="sendonly")
            await publisher.setLocalDescription(await publisher.createOffer())
            await ours.setRemoteDescription(publisher.localDescription)
            confine(ours, local)
            await ours.setLocalDescription(await ours.createAnswer())
            told = candidates(ours)
            await publisher.setRemoteDescription(ours.localDescription)
            await asyncio.gather(_connected(ours), _connected(publisher))
    except TimeoutError:
        raise UnconnectedError(
            f"no connection within {timeout_s:g} s (ICE {ours.iceConnectionState}, {ours.connectionState})"
        ) from None
    finally:
        await asyncio.gather(ours.close(), publisher.close())
    return told


async def ask_server(server: IceServer) -> Candidate | None:
    """The address that a STUN or TURN server gives us; None when it does not answer, or refuses."""
    wanted = "srflx" if server.url.startswith("stun") else "relay"
    config = WebRtcConfig(ice_servers=[server])
    connection = new_connection(config)
    try:
        connection.addTransceiver("video", direction="sendonly")
        offer = await connection.createOffer()
        confine(connection, config)
        await connection.setLocalDescription(offer)
        return next((one for one in candidates(connection) if one.kind == wanted), None)
    finally:
        await connection.close()


def candidates(connection: RTCPeerConnection) -> list[Candidate]:
    """Those in the connection's description of itself (RFC 8839, 5.1)."""
    found = []
    for line in connection.localDescription.sdp.splitlines():
        if line.startswith("a=candidate:"):
            words = line.split()
            found.append(Candidate(words[4], int(words[5]), words[7]))
    return found


async def _connected(connection: RTCPeerConnection) -> None:
    done = asyncio.Event()

    @connection.on("connectionstatechange")
    def _look() -> None:
        if connection.connectionState == "connected":
            done.set()

    _look()
    await done.wait()
