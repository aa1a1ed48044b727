"""Which ONVIF devices are on this network: WS-Discovery's probe, and what answers it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import ifaddr
from defusedxml.common import DefusedXmlException

from ingest.errors import VigilError

# WS-Discovery of April 2005, which ONVIF's core specification prescribes (7.3).
GROUP = ("239.255.255.250", 3702)
_DISCOVERY = "http://schemas.xmlsoap.org/ws/2005/04/discovery"
_ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
# Cameras look for one of these two types, and not all for both.
_TYPES = (
    ("dn:NetworkVideoTransmitter", "http://www.onvif.org/ver10/network/wsdl"),
    ("dn:Device", "http://www.onvif.org/ver10/device/wsdl"),
)
_SCOPE = "onvif://www.onvif.org/"
# Datagrams get lost: the probe is repeated after so many seconds.
REPEATS_S = (0.0, 0.3, 1.0)
# More answers than this are not from cameras.
MAX_DEVICES = 1024


class DiscoveryError(VigilError):
    """The network cannot be searched."""

    code = "discovery.failed"


@dataclass(frozen=True, slots=True)
class Found:
    """A device that answered: from where, under which URL its ONVIF service is said to be, and what it calls itself."""

    address: str
    url: str
    identity: str
    name: str | None = None
    hardware: str | None = None


def probe(message_id: str, kind: str, namespace: str) -> bytes:
    """The question, for devices of one type."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"'
        f' xmlns:w="{_ADDRESSING}" xmlns:d="{_DISCOVERY}" xmlns:dn="{namespace}"><e:Header>'
        f"<w:MessageID>uuid:{message_id}</w:MessageID><w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
        f"<w:Action>{_DISCOVERY}/Probe</w:Action></e:Header>"
        f"<e:Body><d:Probe><d:Types>{kind}</d:Types></d:Probe></e:Body></e:Envelope>"
    ).encode()


def parse(answer: bytes, address: str) -> list[Found]:
    """The ONVIF devices in a datagram that came from `address`; none if it is anything else, however malformed."""
    try:
        root = defusedxml.ElementTree.fromstring(answer, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # LookupError: an encoding nobody knows
        return []
    matches = root.iter(f"{{{_DISCOVERY}}}ProbeMatch")
    return [found for match in matches if (found := _found(match, address))]


def _found(match: Element, address: str) -> Found | None:
    scopes = _words(match, "Scopes")
    if not any(scope.startswith(_SCOPE) for scope in scopes) and "NetworkVideoTransmitter" not in "".join(
        _words(match, "Types")
    ):
        return None  # printers and computers answer probes, too
    url = service_url(_words(match, "XAddrs"), address)
    reference = match.find(f"{{{_ADDRESSING}}}EndpointReference/{{{_ADDRESSING}}}Address")
    identity = (reference.text or "").strip() if reference is not None else ""
    return Found(address, url, identity or url, _scope(scopes, "name"), _scope(scopes, "hardware"))


def _words(match: Element, tag: str) -> list[str]:
    return (match.findtext(f"{{{_DISCOVERY}}}{tag}") or "").split()


def _scope(scopes: list[str], kind: str) -> str | None:
    values = [
        unquote(scope.removeprefix(f"{_SCOPE}{kind}/")) for scope in scopes if scope.startswith(f"{_SCOPE}{kind}/")
    ]
    return legible(values[0]) or None if values else None


def legible(text: str) -> str:
    """What a device says of itself, fit for a terminal and a comment: one line, no control characters, 80 at most."""
    return printable(text[:400])[:80].rstrip()


def printable(text: str) -> str:
    """The text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def service_url(candidates: list[str], address: str) -> str:
    """Where to ask the device at `address`: behind NAT or after a move it names addresses that lead elsewhere."""
    best = None
    for candidate in candidates:
        with contextlib.suppress(ValueError):
            parts = urlsplit(candidate)
            if parts.scheme in ("http", "https") and parts.hostname:
                rewritten = at_address(candidate, address)
                if parts.hostname == address:
                    return rewritten
                best = best or rewritten
    return best or f"http://{bracketed(address)}/onvif/device_service"


def at_address(url: str, address: str) -> str:
    """The URL with its host replaced by `address` and any login removed; the port stays.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"{bracketed(address)}{port}").geturl()


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def interfaces(name: str | None = None) -> list[str]:
    """The IPv4 addresses to search from: those of the interface `name` (or the address itself), else all but loopback.

    Raises:
        ValueError: there is no such interface.
    """
    own = [(adapter.name, str(ip.ip)) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    if name is None:
        return [address for _, address in own if not ipaddress.ip_address(address).is_loopback]
    chosen = [address for adapter, address in own if name in (adapter, address)]
    if not chosen:
        known = ", ".join(f"{adapter} ({address})" for adapter, address in own)
        raise ValueError(f"{name!r} is no interface with an IPv4 address here; there are {known}")
    return chosen


@dataclass(slots=True)
class _Answers(asyncio.DatagramProtocol):
    """Collects the devices, each once, whichever interface or repetition it answered."""

    heard: Callable[[Found], None]
    devices: dict[str, Found] = field(default_factory=dict)
    unsent: list[OSError] = field(default_factory=list)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for found in parse(data, addr[0]):
            if found.identity not in self.devices and len(self.devices) < MAX_DEVICES:
                self.devices[found.identity] = found
                self.heard(found)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self.unsent.append(exc)


async def search(addresses: Sequence[str], timeout_s: float, heard: Callable[[Found], None]) -> list[Found]:
    """Probes from each of our addresses for `timeout_s` seconds; `heard` learns of each device as it answers.

    Raises:
        DiscoveryError: nothing could be sent.
    """
    answers = _Answers(heard)
    loop = asyncio.get_running_loop()
    senders: list[asyncio.DatagramTransport] = []
    sent = 0
    try:
        for address in addresses:
            try:
                link = _multicast_socket(address)
                senders.append((await loop.create_datagram_endpoint(lambda: answers, sock=link))[0])
            except OSError as error:
                answers.unsent.append(error)
        began = loop.time()
        message_ids = [str(uuid.uuid4()) for _ in _TYPES]
        for after_s in REPEATS_S:
            if after_s >= timeout_s:
                break
            await asyncio.sleep(began + after_s - loop.time())
            for message_id, (kind, namespace) in zip(message_ids, _TYPES, strict=True):
                for sender in senders:
                    sender.sendto(probe(message_id, kind, namespace), GROUP)
                    sent += 1
            if len(answers.unsent) >= sent:
                break
        else:
            await asyncio.sleep(began + timeout_s - loop.time())
    finally:
        for sender in senders:
            sender.close()
    if len(answers.unsent) >= sent:
        why = "; ".join(sorted({error.strerror or str(error) for error in answers.unsent})) or "there is no interface"
        raise DiscoveryError(f"cannot search the network ({why}): choose an interface that is up, or name hosts")
    return sorted(answers.devices.values(), key=lambda found: (socket.inet_aton(found.address), found.url))


def _multicast_socket(address: str) -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        link.setblocking(False)
        link.bind((address, 0))
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    except OSError:
        link.close()
        raise
    return link
