"""Why FFmpeg failed, as a reason by name.

What FFmpeg returns was seen from real servers (tests/e2e/test_sources.py). Its log says more, but it is one log for all
the streams of a process: a line may be another camera's. So what an "input/output error" hides is found out by asking
the name service and the server's TLS side again.
"""

from __future__ import annotations

import errno
import socket
import ssl
from urllib.parse import urlsplit

import av.error

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.redact import redact

PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443}
TLS_SCHEMES = ("rtsps", "rtmps", "https")

_BY_TYPE: list[tuple[tuple[type[BaseException], ...], Reason]] = [
    ((av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError, PermissionError), Reason.AUTH),
    ((av.error.HTTPNotFoundError, FileNotFoundError), Reason.NOT_FOUND),
    ((av.error.HTTPError, ConnectionRefusedError), Reason.REFUSED),
    ((av.error.DecoderNotFoundError,), Reason.CODEC),
]
_NO_WAY_THERE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL)


# FFmpeg gives up at the time-out, and often says that the data were invalid; the time tells. Floats round.
NEARLY = 0.98


def source_error(error: Exception, config: SourceConfig, opening: bool, waited_s: float) -> SourceError:
    """The reason behind an FFmpeg error that came after `waited_s` of `opening` a source or reading it.

    What fails when opening may be asked once more, for `connect_timeout` at most.
    """
    words = getattr(error, "strerror", None) or str(error)
    detail = redact(f"{words}: {config.url}")
    if isinstance(error, PermissionError) and error.errno == errno.EPERM:
        return SourceError(Reason.CORRUPT, detail)  # a decoder's word for what it does not want; a login is EACCES
    for types, reason in _BY_TYPE:
        if isinstance(error, types):
            return SourceError(reason, detail)
    if isinstance(error, av.error.ExitError | TimeoutError):
        return timed_out(config, waited_s)
    timeout_s = config.connect_timeout if opening else config.read_timeout
    if waited_s >= NEARLY * timeout_s and config.is_live:
        return timed_out(config, waited_s)
    if isinstance(error, av.error.InvalidDataError):
        return SourceError(Reason.CORRUPT, detail)
    number = getattr(error, "errno", None)
    if number in _NO_WAY_THERE:
        return SourceError(Reason.UNREACHABLE, detail)
    if number == errno.EPROTONOSUPPORT and config.scheme in ("rtsp", "rtsps"):
        return SourceError(
            Reason.REFUSED, f"the camera does not send over {config.transport}: set `transport: auto`, or the other one"
        )
    if not opening:
        return SourceError(Reason.LOST, detail)
    return _unreachable_or_tls(config) or SourceError(Reason.REFUSED, detail)


def timed_out(config: SourceConfig, waited_s: float) -> SourceError:
    return SourceError(Reason.TIMEOUT, redact(f"nothing came for {waited_s:.1f} s: {config.url}"))


def _unreachable_or_tls(config: SourceConfig) -> SourceError | None:
    """An unknown host name or a failing TLS connection, in words; None when it is neither."""
    try:
        parts = urlsplit(config.url)
        host, port = parts.hostname, parts.port or PORTS.get(config.scheme)
    except ValueError:
        return None  # FFmpeg reads URLs that Python refuses
    if not host or not port:
        return None
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return SourceError(Reason.UNREACHABLE, f"the host name {host} is not known ({error.strerror})")
    if config.scheme not in TLS_SCHEMES:
        return None
    context = ssl.create_default_context()
    if not config.tls_verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), config.connect_timeout) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return SourceError(
            Reason.TLS,
            f"the certificate of {host} is not trusted ({error.verify_message}); set `tls_verify: false` to accept any "
            "certificate, as most cameras sign their own",
        )
    except ssl.SSLError as error:
        return SourceError(Reason.TLS, f"{host} port {port} answers, but not with TLS ({error.reason})")
    except OSError:
        return None
