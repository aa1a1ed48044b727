"""Connections to the HTTP side: none is held for ever, there are only so many, and certificates are followed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from publish import listening
from publish.config import HttpTls
from publish.listening import Certificate, HttpConnection, TlsError, context_of
from tests.ingest.certificate import self_signed


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Writes more than anybody's buffers hold; `/` is answered at once."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000 if scope["path"] == "/endless" else 0):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"hello", "more_body": False})


def played(play: Callable[[int, set[Any]], Awaitable[None]], certificate: Certificate | None = None) -> None:
    async def run() -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            endless, http=HttpConnection, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1,
            ssl_context_factory=context_of(certificate),
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
        tasks = [asyncio.create_task(server.serve([bound]))]
        if certificate is not None:
            tasks.append(asyncio.create_task(certificate.follow()))
        try:
            await play(bound.getsockname()[1], server.server_state.connections)
        finally:
            server.should_exit = True
            await tasks[0]
            for task in tasks:
                task.cancel()

    asyncio.run(run())


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hangs up."""
    try:
        async with asyncio.timeout(5):
            while await reader.read(65536):
                pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_who_does_not_ask_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.1)

    async def play(port: int, held: set[Any]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await ended(reader)
        writer.close()

    played(play)


def test_a_second_request_may_not_dawdle_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEAD_S", 0.2)

    async def play(port: int, held: set[Any]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"hello")
        writer.write(b"GET / HTT")
        assert await ended(reader)
        writer.close()

    played(play)


def test_who_takes_nothing_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "STUCK_S", 0.2)

    async def play(port: int, held: set[Any]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read(1)
        async with asyncio.timeout(5):
            while held:
                await asyncio.sleep(0.02)
        writer.close()

    played(play)


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_CONNECTIONS", 3)

    async def play(port: int, held: set[Any]) -> None:
        first = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await ended(reader)
        writer.close()
        first[0][1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await first[0][0].readuntil(b"hello")
        for _, one in first:
            one.close()

    played(play)


# -- certificates


async def shown(port: int) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert isinstance(found, bytes)
    return found


def test_a_renewed_certificate_is_shown_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "LOOK_S", 0.02)
    first, second = (self_signed(_made(tmp_path / name)) for name in ("first", "second"))
    file = tmp_path / "live.pem"
    shutil.copy(first, file)

    async def becomes(port: int, wanted: bytes) -> None:
        async with asyncio.timeout(5):
            while await shown(port) != wanted:
                await asyncio.sleep(0.02)

    async def play(port: int, held: set[Any]) -> None:
        before = await shown(port)
        file.write_text("-----BEGIN CERTIFICATE-----\nhalf of it")
        await asyncio.sleep(0.1)
        assert await shown(port) == before
        shutil.copy(second, file)
        await becomes(
            port, ssl.PEM_cert_to_DER_cert(second.read_text().partition("KEY-----\n")[2].partition("KEY-----\n")[2])
        )

    played(play, Certificate(HttpTls(cert=file, key=file)))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("name", "content"), [("none.pem", None), ("text.pem", "hello")])
def test_files_that_are_no_certificate_are_named(tmp_path: Path, name: str, content: str | None) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(TlsError, match=name) as refusal:
        Certificate(HttpTls(cert=file, key=file))
    assert refusal.value.code == "http.tls"
