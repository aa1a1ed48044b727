"""WebRTC connections that keep to the configured ports, addresses and servers."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import ipaddress
import logging
import random
import socket
from functools import partial

import structlog
from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol, get_host_addresses, server_reflexive_candidate
from aioice.turn import UDP_SOCKET_BUFFER_SIZE
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection
from aiortc.codecs import CODECS
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig

log = structlog.get_logger()

# A STUN or TURN server that does not answer must not hold up the others for longer.
GATHER_S = 3
# aiortc lists the baseline profiles only; FFmpeg decodes these too, and encoders offer what they make.
H264_PROFILES = ("4d001f", "64001f", "640c1f")

# It warns of every packet and picture it cannot use; what that means for a stream is told by the stream's state.
logging.getLogger("aiortc").setLevel(logging.ERROR)
logging.getLogger("aioice").setLevel(logging.ERROR)


class NoPortError(VigilError):
    """Every UDP port that may be used is taken."""

    code = "webrtc.no_port"


def _know_more_profiles() -> None:
    baseline = next(codec for codec in CODECS["video"] if codec.name == "H264")
    for profile in H264_PROFILES:
        codec: RTCRtpCodecParameters = copy.deepcopy(baseline)
        codec.parameters["profile-level-id"] = profile
        CODECS["video"].append(codec)


_know_more_profiles()


def new_connection(config: WebRtcConfig) -> RTCPeerConnection:
    """A connection that asks the configured STUN and TURN servers, and no others."""
    servers = [
        RTCIceServer(
            urls=server.url,
            username=server.username,
            credential=server.credential.get_secret_value() if server.credential else None,
        )
        for server in config.ice_servers
    ]
    return RTCPeerConnection(RTCConfiguration(iceServers=servers))


def confine(connection: RTCPeerConnection, config: WebRtcConfig) -> None:
    """Makes the connection gather its candidates as configured; to be called before it has a local description.

    aioice binds any free port of every address; the one call with which it does so is replaced on this connection's own
    ICE agents.
    """
    for transceiver in connection.getTransceivers():
        agent: Connection = transceiver.receiver.transport.transport.iceGatherer._connection
        agent.get_component_candidates = partial(_gather, agent, config)  # type: ignore[method-assign]


async def _gather(agent: Connection, config: WebRtcConfig, component: int, addresses: list[str]) -> list[Candidate]:
    """Host candidates within the port range, the advertised addresses for them, and what STUN and TURN servers say."""
    # aioice leaves loopback out; without a network there is nothing else.
    own = addresses or get_host_addresses(use_ipv4=True, use_ipv6=True) or ["127.0.0.1"]
    protocols = [protocol for address in own if (protocol := await _bind(agent, address, config.ports)) is not None]
    if not protocols:
        raise NoPortError(f"no UDP port is free in webrtc.udp_ports ({config.udp_ports or 'any'}); give a larger range")
    for protocol in protocols:
        host, port = protocol.transport.get_extra_info("sockname")[:2]
        protocol.local_candidate = _host(component, host, port)
    agent._protocols += protocols
    candidates = [protocol.local_candidate for protocol in protocols]
    for address in config.advertise:
        for protocol in protocols:
            if ipaddress.ip_address(protocol.local_candidate.host).version == address.version:
                candidates.append(_host(component, str(address), protocol.local_candidate.port))
    # TURN as ever: with no addresses given, it is all that the original asks.
    relayed = asyncio.ensure_future(Connection.get_component_candidates(agent, component, [], timeout=GATHER_S))
    asked = [
        server_reflexive_candidate(protocol, agent.stun_server)
        for protocol in protocols
        if agent.stun_server and ipaddress.ip_address(protocol.local_candidate.host).version == 4
    ]
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GATHER_S):
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                if not isinstance(answer, BaseException):
                    candidates.append(answer[0])
    candidates += await relayed
    found = {candidate.type for candidate in candidates}
    for server in config.ice_servers:
        if ("srflx" if server.url.startswith("stun") else "relay") not in found:
            log.warning("no answer, or a refusal, from an ICE server; going on without", server=server.url)
    unique = {(candidate.host, candidate.port, candidate.type): candidate for candidate in candidates}
    return list(unique.values())


def _host(component: int, host: str, port: int) -> Candidate:
    return Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host"),
        host=host,
        port=port,
        type="host",
    )


async def _bind(agent: Connection, address: str, ports: range | None) -> StunProtocol | None:
    """A socket on the first port that is free, from a random one on; None when there is none, or no such address."""
    loop = asyncio.get_running_loop()
    first = random.randrange(len(ports)) if ports else 0
    for port in [*ports[first:], *ports[:first]] if ports else [0]:
        try:
            transport, protocol = await loop.create_datagram_endpoint(
                lambda: StunProtocol(agent), local_addr=(address, port)
            )
        except OSError:
            continue
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_SOCKET_BUFFER_SIZE)
        return protocol
    return None
