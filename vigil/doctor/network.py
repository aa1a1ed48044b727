"""Ports that Vigil listens on: free, and as many as are needed."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509

from vigil.config import VigilConfig
from vigil.doctor.finding import Finding, Installation, fail, not_applicable, ok, warn

# People who may well look at the same time.
VIEWERS = 10
# Who renews by itself does so a month before; then something has gone wrong.
CERTIFICATE_LEFT = timedelta(days=14)


def http_port(installation: Installation) -> list[Finding]:
    http = installation.config.http
    if not http.enabled:
        return [not_applicable("port.http", "`http.enabled` is off")]
    told = installation.running.http if installation.running else None
    if told is not None and urlsplit(told).port == http.port:
        assert installation.running is not None
        return [ok("port.http", f"{told} is this config's own service, process {installation.running.pid}")]
    return [_free("port.http", "http.port", http.host, http.port)]


def nats_port(installation: Installation) -> list[Finding]:
    nats = installation.config.nats
    if nats.url != "embedded" or not nats.port:
        return [not_applicable("port.nats", "no port is fixed for an embedded server")]
    if installation.running and urlsplit(installation.running.nats).port == nats.port:
        return [ok("port.nats", f"{nats.port} is this config's own NATS server's")]
    return [_free("port.nats", "nats.port", "127.0.0.1", nats.port)]


def _free(check: str, setting: str, host: str, port: int) -> Finding:
    """By listening there, as the service does."""
    where = f"{host}:{port}"
    try:
        socket.create_server((host, port)).close()
    except socket.gaierror as error:
        return fail(check, f"{host!r} is no address: {error.strerror}", f"set `{setting.replace('port', 'host')}`")
    except OSError as error:
        mends = {
            errno.EADDRINUSE: f"end what has it (`ss -ltnp 'sport = :{port}'` tells), or set another `{setting}`",
            errno.EADDRNOTAVAIL: f"{host} is none of this machine's addresses; 0.0.0.0 is all of them",
            errno.EACCES: f"set `{setting}` to 1024 or more, or put a reverse proxy in front",
        }
        mend = mends.get(error.errno or 0, f"set another `{setting}`")
        return fail(check, f"cannot listen on {where}: {error.strerror}", mend)
    return ok(check, f"{where} is free" if port else f"{host}, any free port")


def exposure(installation: Installation) -> list[Finding]:
    """Who can reach the HTTP side, and whether they must show a token."""
    http = installation.config.http
    if not http.enabled:
        return [not_applicable("http.access", "`http.enabled` is off")]
    if _is_loopback(http.host):
        if installation.in_container:
            seen = f"`http.host` is {http.host}: nothing outside this container reaches it"
            return [warn("http.access", seen, "set `http.host: 0.0.0.0` and `http.token`")]
        return [ok("http.access", "programs on this machine only")]
    if http.token is None:
        seen = f"`http.host` is {http.host}, and without a token nobody but this machine is answered"
        return [fail("http.access", seen, "set `http.token`, as ${file:/run/secrets/vigil-token}")]
    return [ok("http.access", "others too, with a token")]


def certificate(installation: Installation) -> list[Finding]:
    """HTTPS: the certificate goes with its key, and will be good for a while."""
    tls = installation.config.http.tls
    if tls is None:
        return [not_applicable("http.tls", "HTTP without TLS: for this machine, or behind a proxy that has it")]
    mend = "renew it, or correct `http.tls`; files that change are read anew"
    try:
        # An empty passphrase, as OpenSSL would ask the terminal for one.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.cert, tls.key, lambda: b"")
        first, *_ = x509.load_pem_x509_certificates(tls.cert.read_bytes())
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        return [fail("http.tls", f"{tls.cert} with {tls.key}: {error}", mend)]
    return [judge_certificate(str(tls.cert), first.not_valid_after_utc - datetime.now(UTC))]


def judge_certificate(name: str, left: timedelta) -> Finding:
    mend = "renew it; files that change are read anew"
    if left <= timedelta():
        return fail("http.tls", f"{name} has run out: browsers refuse it", mend)
    if left < CERTIFICATE_LEFT:
        return warn("http.tls", f"{name} runs out in {left.days} days", mend)
    return ok("http.tls", f"{name} is good for {left.days} days")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def udp_ports(installation: Installation) -> list[Finding]:
    config = installation.config
    ports = config.webrtc.ports
    if ports is None:
        return [ok("port.udp", "any free port: fine where no firewall, NAT or container lies between")]
    free = sum(_is_free(port) for port in ports)
    viewers = min(VIEWERS, config.preview.viewers) if config.preview.enabled else 0
    return [judge_udp(free, len(ports), _publishers(config), viewers, installation.running is not None)]


def _publishers(config: VigilConfig) -> int:
    return sum(stream.scheme == "whip" for stream in config.streams.values())


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def judge_udp(free: int, all_ports: int, publishers: int, viewers: int, runs: bool) -> Finding:
    """`viewers`: for how many at a time there should be room."""
    told = f"{free} of {all_ports} ports are free"
    if runs:
        return ok("port.udp", f"{told}; the service that runs may have others")
    mend = "end what has them (`ss -lunp` tells), or make `webrtc.udp_ports` larger"
    if free < publishers + min(1, viewers):
        seen = f"{told}: {publishers} streams have publishers, and each viewer takes one more"
        return fail("port.udp", seen, mend)
    if free < publishers + viewers:
        return warn("port.udp", f"{told}: enough for {free - publishers} viewers at a time", mend)
    return ok(
        "port.udp", f"{told}: enough for {free - publishers} viewers beside the publishers of {publishers} streams"
    )
