"""WebRTC: a connection can be made, at addresses where others can reach us, and STUN and TURN servers answer."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import ifaddr
from pydantic import IPvAnyAddress

from ingest.errors import VigilError
from ingest.webrtc.config import IceServer
from ingest.webrtc.rehearsal import ask_server, connect_to_ourselves
from vigil.doctor.finding import Finding, Installation, fail, not_applicable, ok, warn

CONNECT_S = 5.0
ASK_S = 6.0


async def connection(installation: Installation) -> list[Finding]:
    """ICE and DTLS with ourselves, through the configured ports."""
    try:
        told = await connect_to_ourselves(installation.config.webrtc, CONNECT_S)
    except VigilError as error:
        mend = "docs/webrtc.md, ports; a local firewall that drops UDP between this machine's own addresses?"
        return [fail("webrtc.connection", f"{error} [{error.code}]", mend)]
    where = sorted({f"{one.host}:{one.port}" for one in told})
    if all(":" in one.host for one in told):
        seen = (
            f"over IPv6 alone, at {', '.join(where)}: no port is free at this machine's IPv4 addresses, if it has any"
        )
        return [warn("webrtc.connection", seen, "end what has `webrtc.udp_ports` (`ss -lunp`), or make them more")]
    return [ok("webrtc.connection", f"made; peers are told {', '.join(where)}")]


def addresses(installation: Installation) -> list[Finding]:
    own = [str(ip.ip if ip.is_IPv4 else ip.ip[0]) for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    return judge_addresses(installation.config.webrtc.advertise, own, installation.in_container)


def judge_addresses(advertised: Sequence[IPvAnyAddress], own: Sequence[str], in_container: bool) -> list[Finding]:
    """`own`: this machine's addresses, as text."""
    check = "webrtc.addresses"
    if not advertised:
        if in_container:
            seen = "in a container without `webrtc.advertise`: nobody outside reaches the container's own address"
            mend = "advertise the host's address, and publish `webrtc.udp_ports`; or use the host's network"
            return [warn(check, seen, mend)]
        return [ok(check, f"this machine's own: {', '.join(_reachable(own)) or 'none but loopback'}")]
    findings = []
    for address in advertised:
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            seen = f"`webrtc.advertise` has {address}, which no other machine can reach this one by"
            findings.append(fail(check, seen, "advertise the address that viewers and publishers connect to"))
        elif str(address) in own:
            findings.append(ok(check, f"{address} is this machine's own"))
        elif in_container:
            findings.append(ok(check, f"{address} is outside this container: publish `webrtc.udp_ports` there"))
        elif address.is_private:
            seen = f"`webrtc.advertise` has {address}, which is no address of this machine ({', '.join(own)})"
            findings.append(warn(check, seen, "correct it, unless a router forwards `webrtc.udp_ports` from there"))
        else:
            findings.append(ok(check, f"{address} is public: `webrtc.udp_ports` must be forwarded from there"))
    return findings


def _reachable(own: Sequence[str]) -> list[str]:
    plain = [ipaddress.ip_address(one.partition("%")[0]) for one in own]
    return [str(one) for one in plain if not one.is_loopback and not one.is_link_local]


async def servers(installation: Installation) -> list[Finding]:
    found = installation.config.webrtc.ice_servers
    if not found:
        return [not_applicable("webrtc.servers", "`webrtc.ice_servers` has none")]
    return list(await asyncio.gather(*map(_server, found)))


async def _server(server: IceServer) -> Finding:
    try:
        async with asyncio.timeout(ASK_S):
            answer = await ask_server(server)
    except (TimeoutError, OSError, ValueError, VigilError) as error:
        answer, why = None, f": {error}" if str(error) else ""
    else:
        why = ""
    if answer is None:
        mend = "correct its url and login, let UDP through to it, or remove it: each connection waits 3 s for it"
        return warn("webrtc.servers", f"{server.url} does not answer, or refuses{why}", mend)
    return ok("webrtc.servers", f"{server.url} answers: we are {answer.host}:{answer.port} ({answer.kind})")
