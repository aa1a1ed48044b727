"""A connection to NATS: made again whenever it breaks, its absence told once for each reason."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport

from ingest.redact import redact
from publish.config import NatsConfig
from publish.login import LoginError, is_secured, options
from publish.trouble import Code, NatsError, Trouble, Troubles, is_vague, of_connecting, of_permission

log = structlog.get_logger()

CONNECT_S = 2
RETRY_S = 0.5
TEND_S = 5.0
CLOSED_S = 0.2
# A server that is gone without a word is noticed after three of these.
PING_S = 10
NOT_CONNECTED = (Code.UNREACHABLE, Code.AUTH, Code.TLS, Code.LOGIN, Code.REFUSED)


class _Transport(TcpTransport):
    """nats-py's, except for two things.

    CONNECT leaves together with the first PING: a server that refuses somebody says why and hangs up, and to write to
    it after that would lose what it said. After a TLS handshake that failed asyncio never says that the connection is
    closed, and nats-py would wait for that for ever instead of trying again.
    """

    _held = b""

    def write(self, payload: bytes) -> None:
        if payload.startswith(b"CONNECT "):
            self._held = payload
        else:
            super().write(self._held + payload)
            self._held = b""

    def __bool__(self) -> bool:
        return True  # nats-py puts one of its own in the place of what is false

    async def wait_closed(self) -> None:
        with contextlib.suppress(TimeoutError, OSError):  # why it broke has been told where it was used
            async with asyncio.timeout(CLOSED_S):
                await super().wait_closed()


class _Client(Client):
    """nats-py's client, except that nothing goes out unsecured that was to be secured, and that nothing which a server
    says ends the connection for good: nats-py gives up when a login expires or is taken away."""

    def __init__(self, secured: bool) -> None:
        super().__init__()
        self._secured = secured

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport is None and s.uri.scheme in ("nats", "tls"):
            self._transport = _Transport()
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Comes before the login is sent; nats-py would send it in clear to a server that does not insist on TLS."""
        assert self._current_server is not None
        plain = self._current_server.uri.scheme not in ("ws", "wss") and not info.get("tls_required")
        if initial_connection and self._secured and plain:
            if not info.get("tls_available"):
                raise nats.errors.SecureConnWantedError
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg or "stale connection" in err_msg:
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)


async def connect(
    config: NatsConfig, url: str, name: str, lasting: bool = True, tell: Callable[[Exception], object] | None = None,
    broken: asyncio.Event | None = None,
) -> Client:  # fmt: skip
    """A connection that is made now or not at all; a `lasting` one comes back by itself whenever it breaks.

    `tell` hears what goes wrong later; `broken` is set whenever it breaks.

    Raises:
        NatsError: it cannot be made, and why.
    """
    seen: list[Exception] = []
    stands = False

    async def note(error: Exception) -> None:
        await asyncio.sleep(0)
        if not stands:
            seen.append(error)
        elif tell is not None:
            tell(error)

    async def gone() -> None:
        await asyncio.sleep(0)
        if broken is not None:
            broken.set()

    client = _Client(is_secured(config, url))
    try:
        await client.connect(
            **_options(config, url, name), max_reconnect_attempts=1, error_cb=note, disconnected_cb=gone
        )
    except (LoginError, OSError, nats.errors.Error, TimeoutError) as error:
        telling = next((one for one in seen if not is_vague(one)), (seen or [error])[0])
        cause = error if isinstance(error, LoginError) else telling
        raise NatsError(of_connecting(cause, url, is_secured(config, url))) from None
    stands = True
    if lasting:
        client.options["max_reconnect_attempts"] = -1
    return client


def _options(config: NatsConfig, url: str, name: str) -> dict[str, Any]:
    return {
        **options(config, url),
        "name": name,
        "reconnect_time_wait": RETRY_S,
        "connect_timeout": CONNECT_S,
        "ping_interval": PING_S,
    }


class Connection:
    """Lives in one asyncio loop, with a task of its own that ends what is refused no longer."""

    def __init__(
        self, config: NatsConfig, url: str, name: str, tell: Callable[[float], object],
        troubles: Troubles | None = None,
    ) -> None:  # fmt: skip
        """`name` is what the server's lists of connections show; `tell` hears 1 when it stands, 0 when it breaks."""
        self.troubles = troubles or Troubles()
        self._config = config
        self._url = url
        self._name = name
        self._tell = tell
        self._client: Client | None = None
        self._closing = False
        self._tending: asyncio.Task[None] | None = None
        self._told: set[Code] = set()  # why there is no connection, as told since the last one

    @property
    def client(self) -> Client | None:
        """Once there has been a connection; it comes back by itself."""
        return self._client

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def open(self) -> Client:
        """Returns when the connection stands, however long that takes."""
        self._tending = asyncio.create_task(self._tend(), name="NATS troubles")
        while True:
            try:
                client = _Client(is_secured(self._config, self._url))
                await client.connect(
                    **_options(self._config, self._url, self._name),
                    max_reconnect_attempts=-1,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                )
                break
            except (LoginError, OSError, nats.errors.Error, TimeoutError) as error:
                await self._on_error(error)
                await asyncio.sleep(RETRY_S)
        self._client = client
        self._stands()
        log.info("connected to NATS", url=redact(self._url))
        return client

    async def close(self, timeout_s: float) -> None:
        self._closing = True
        if self._tending is not None:
            self._tending.cancel()
        if self._client is not None and not self._client.is_closed:
            with contextlib.suppress(TimeoutError, nats.errors.Error, OSError):
                await asyncio.wait_for(self._client.close(), timeout_s)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_S)
            self.troubles.forget_old(time.monotonic())

    def _stands(self) -> None:
        self._told.clear()
        self.troubles.over(*NOT_CONNECTED)
        self._tell(1)

    async def _on_error(self, error: Exception) -> None:
        """Called for every attempt, and for what the server refuses, of which each new reason is told once."""
        if (refused := of_permission(error)) is not None:
            trouble, sending = refused
            # What may not be heard is asked for once, and again with the next connection.
            self.troubles.begin(trouble, lasting=not sending)
        elif self.connected:
            log.debug("NATS", error=redact(str(error)))
        elif not (self._closing or (self._told and is_vague(error))):
            self._cannot(of_connecting(error, self._url, is_secured(self._config, self._url)))

    def _cannot(self, trouble: Trouble) -> None:
        """Several servers may have reasons of their own, in turn: each is told once, the last one is shown."""
        quietly = trouble.code in self._told
        self._told.add(trouble.code)
        self.troubles.drop(*(code for code in NOT_CONNECTED if code is not trouble.code))
        self.troubles.begin(trouble, quietly=quietly)

    async def _on_disconnected(self) -> None:
        self._tell(0)
        self.troubles.drop(Code.PERMISSION)  # what is still refused will be said again
        if not self._closing:
            log.warning("NATS is away; events wait, frame results are dropped", url=redact(self._url))

    async def _on_reconnected(self) -> None:
        self._stands()
        log.info("NATS is back", url=redact(self._url))
