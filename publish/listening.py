"""How connections to the HTTP side are taken: so many, none that dawdles, and with TLS where there is a certificate."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingest.errors import VigilError
from publish.config import HttpTls

log = structlog.get_logger()

MOST_CONNECTIONS = 512
# For the head of a request, from when the connection stands or the head's first byte is here.
HEAD_S = 15.0
# A client that takes nothing of what is written to it for so long is let go of.
STUCK_S = 30.0
LOOK_S = 5.0


class TlsError(VigilError):
    """The certificate cannot be used."""

    code = "http.tls"


class HttpConnection(H11Protocol):
    """uvicorn's, with bounds: as many connections as the supervisor has file descriptors to spare, and none held for
    ever by a client that neither asks nor takes its answer."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._within(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._in_time()  # the head is whole
        elif self._deadline is None and (before is None or before.response_complete):
            self._within(HEAD_S)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._in_time()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._within(STUCK_S)

    def resume_writing(self) -> None:
        self._in_time()
        super().resume_writing()

    def _within(self, seconds: float) -> None:
        self._in_time()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Certificate:
    """A TLS context that follows its files: certbot renews them every few weeks."""

    def __init__(self, config: HttpTls) -> None:
        """Raises TlsError: the files cannot be used."""
        self._config = config
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._stamps = self._look()
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        cert, key = self._config.cert, self._config.key
        for name, file in (("cert", cert), ("key", key)):
            try:
                file.read_bytes()
            except OSError as error:
                raise TlsError(f"http.tls.{name}: cannot read {file}: {error.strerror}") from None
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            words = getattr(error, "reason", None) or str(error)
            detail = f"{cert} and {key} are no certificate in PEM and the key that it is for: {words}"
            raise TlsError(f"http.tls: {detail}") from None

    async def follow(self) -> None:
        """New connections get what is in the files; runs until cancelled. Files that do not hold are told of, once."""
        while True:
            await asyncio.sleep(LOOK_S)
            stamps = self._look()
            if stamps == self._stamps:
                continue
            self._stamps = stamps
            try:
                self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # half of a renewal must not reach the real one
                self._load(self.context)
            except TlsError as error:
                log.error("the new certificate is refused; the old one goes on", error=str(error), code=error.code)
            else:
                log.info("certificate read anew", file=str(self._config.cert))

    def _look(self) -> list[tuple[int, int] | None]:
        return [_stamp(file) for file in (self._config.cert, self._config.key)]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _no_password() -> str:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted; give one that is not, readable by Vigil alone")


def context_of(certificate: Certificate | None) -> Callable[..., ssl.SSLContext] | None:
    """For uvicorn, which wants to be given a way to make one."""
    return None if certificate is None else lambda *_: certificate.context
