"""Connecting to real NATS servers: every way to log in, TLS, and what is told when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nkeys
import pytest
import structlog

from publish.config import NatsConfig, NatsTls
from publish.connection import Connection, connect
from publish.trouble import Code, NatsError, Troubles
from tests.publish.authority import Authority
from tests.publish.decentral import Identity, Realm
from tests.publish.servers import Server, serving

Play = Callable[[Connection], Awaitable[None]]


def play(config: NatsConfig, url: str, script: Play) -> None:
    """Opens a connection in the background and follows the script."""

    async def main() -> None:
        connection = Connection(config, url, "test", lambda standing: None)
        opening = asyncio.create_task(connection.open())
        try:
            await script(connection)
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await connection.close(2)

    asyncio.run(main())


async def until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def codes(connection: Connection) -> list[Code]:
    return [trouble.code for trouble in connection.troubles.now()]


def try_to_connect(config: NatsConfig, url: str) -> str | None:
    """The code of what went wrong; None when it is connected and a message goes round."""

    async def main() -> str | None:
        try:
            client = await connect(config, url, "test")
        except NatsError as error:
            assert "s3cr3t" not in str(error)
            return error.code
        heard = await client.subscribe("vigil.x")
        await client.publish("vigil.x", b"hello")
        assert (await heard.next_msg(10)).data == b"hello"
        await client.close()
        return None

    return asyncio.run(main())


@pytest.fixture(scope="module")
def seeds() -> dict[str, bytes]:
    """Seeds of users' NKeys, and their public keys."""
    import base64

    def public(seed: bytes) -> str:
        return nkeys.from_seed(bytearray(seed)).public_key.decode()

    def make(number: int) -> bytes:
        raw = bytes([nkeys.PREFIX_BYTE_SEED | nkeys.PREFIX_BYTE_USER >> 5, (nkeys.PREFIX_BYTE_USER & 31) << 3])
        body = raw + bytes([number]) * 32
        return base64.b32encode(body + nkeys.crc16(bytearray(body)).to_bytes(2, "little")).rstrip(b"=")

    return {"ours": make(7), "ours_public": public(make(7)).encode(), "other": make(8)}


USERS = """
authorization { users = [
  {user: vigil, password: "s3cr3t"}
  {user: meek, password: "s3cr3t", permissions: {publish: ["vigil.hq.frames.>"], subscribe: ["_INBOX.>"]}}
]}
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("guarded"), USERS) as server:
        yield server


@pytest.mark.parametrize(
    ("settings", "login", "code"),
    [
        ({"user": "vigil", "password": "s3cr3t"}, "", None),
        ({}, "vigil:s3cr3t@", None),
        ({"user": "vigil", "password": "s3cr3t2"}, "", "nats.auth"),
        ({}, "vigil:s3cr3t2@", "nats.auth"),
        ({"token": "s3cr3t"}, "", "nats.auth"),
        ({}, "", "nats.auth"),
    ],
)
def test_a_user_and_a_password(guarded: Server, settings: dict[str, Any], login: str, code: str | None) -> None:
    url = guarded.url.replace("nats://", f"nats://{login}")
    assert try_to_connect(NatsConfig(url=url, **settings), url) == code


def test_a_token(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization {token: "s3cr3t"}') as server:
        url = server.url
        assert try_to_connect(NatsConfig(url=url, token="s3cr3t"), url) is None
        assert try_to_connect(NatsConfig(url=url, token="s3cr3t2"), url) == "nats.auth"
        assert try_to_connect(NatsConfig(), url.replace("nats://", "nats://s3cr3t@")) is None


def test_an_nkey(tmp_path: Path, seeds: dict[str, bytes]) -> None:
    files = {name: tmp_path / name for name in ("ours", "other")}
    for name, file in files.items():
        file.write_bytes(seeds[name] + b"\n")
    public = seeds["ours_public"].decode()
    with serving(tmp_path, f"authorization {{users = [{{nkey: {public}}}]}}") as server:
        assert try_to_connect(NatsConfig(url=server.url, nkey=files["ours"]), server.url) is None
        assert try_to_connect(NatsConfig(url=server.url, nkey=files["other"]), server.url) == "nats.auth"
        assert try_to_connect(NatsConfig(url=server.url, nkey=tmp_path / "none"), server.url) == "nats.login"


def test_a_creds_file(tmp_path: Path) -> None:
    realm = Realm()
    ours = realm.credentials(tmp_path / "ours.creds", 3)
    strangers = realm.credentials(tmp_path / "strangers.creds", 4, by=Identity(nkeys.PREFIX_BYTE_ACCOUNT, 9))
    with serving(tmp_path, realm.server_config, jetstream=False) as server:
        assert try_to_connect(NatsConfig(url=server.url, credentials=ours), server.url) is None
        assert try_to_connect(NatsConfig(url=server.url, credentials=strangers), server.url) == "nats.auth"
        assert try_to_connect(NatsConfig(url=server.url), server.url) == "nats.auth"
        assert try_to_connect(NatsConfig(url=server.url, credentials=tmp_path / "none"), server.url) == "nats.login"


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{probe.getsockname()[1]}"
    assert try_to_connect(NatsConfig(), url) == "nats.unreachable"


# -- TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pki")
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    files = {"ca": authority.ca, "other_ca": stranger.ca}
    for name, hosts in {"server": ("127.0.0.1", "nats.example"), "elsewhere": ("nats.example",), "client": ()}.items():
        files[name], files[f"{name}_key"] = authority.issue(name, *hosts)
    return files


def tls_config(pki: dict[str, Path], who: str = "server", more: str = "") -> str:
    return f'tls {{cert_file: "{pki[who]}", key_file: "{pki[f"{who}_key"]}", {more}}}'


def test_tls_with_an_authority_of_our_own(tmp_path: Path, pki: dict[str, Path]) -> None:
    with serving(tmp_path, tls_config(pki)) as server:
        secure = server.url.replace("nats://", "tls://")
        assert try_to_connect(NatsConfig.model_validate({"tls": {"ca": pki["ca"]}}), secure) is None
        assert try_to_connect(NatsConfig.model_validate({"tls": {"ca": pki["ca"]}}), server.url) is None
        assert try_to_connect(NatsConfig.model_validate({"tls": {"ca": pki["other_ca"]}}), secure) == "nats.tls"
        assert try_to_connect(NatsConfig(), server.url) == "nats.tls"


def test_the_certificates_name_is_checked(tmp_path: Path, pki: dict[str, Path]) -> None:
    with serving(tmp_path, tls_config(pki, "elsewhere")) as server:
        ca = {"ca": pki["ca"]}
        assert try_to_connect(NatsConfig.model_validate({"tls": ca}), server.url) == "nats.tls"
        named = {**ca, "host_name": "nats.example"}
        assert try_to_connect(NatsConfig.model_validate({"tls": named}), server.url) is None


def test_a_server_that_wants_our_certificate(tmp_path: Path, pki: dict[str, Path]) -> None:
    with serving(tmp_path, tls_config(pki, more=f'ca_file: "{pki["ca"]}", verify: true')) as server:
        ours = {"ca": pki["ca"], "certificate": pki["client"], "key": pki["client_key"]}
        assert try_to_connect(NatsConfig.model_validate({"tls": ours}), server.url) is None
        assert try_to_connect(NatsConfig.model_validate({"tls": {"ca": pki["ca"]}}), server.url) == "nats.tls"


def test_a_server_that_begins_with_tls(tmp_path: Path, pki: dict[str, Path]) -> None:
    with serving(tmp_path, tls_config(pki, more="handshake_first: true")) as server:
        settings = {"ca": pki["ca"], "first": True}
        assert try_to_connect(NatsConfig.model_validate({"tls": settings}), server.url) is None


@contextlib.contextmanager
def posing(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of one who greets as a NATS server does, and then does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pose() -> None:
            while True:
                try:
                    link, _ = listening.accept()
                except OSError:
                    return
                with link:
                    link.sendall(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576}\r\n')
                    serve(link)

        threading.Thread(target=pose, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_nothing_is_sent_to_a_server_without_tls_that_is_to_have_it(tmp_path: Path, pki: dict[str, Path]) -> None:
    """Whoever stands in the server's place must not get the password."""
    received = []
    with posing(lambda link: received.append(link.recv(4096))) as port:
        url = f"tls://127.0.0.1:{port}"
        config = NatsConfig(url=url, user="vigil", password="s3cr3t")
        assert try_to_connect(config, url) == "nats.tls"
    assert received
    assert set(received) == {b""}


def test_why_a_server_hangs_up_is_heard_however_fast_it_does() -> None:
    def refuse(link: socket.socket) -> None:
        assert link.recv(4096).startswith(b"CONNECT ")
        link.sendall(b"-ERR 'Authorization Violation'\r\n")

    with posing(refuse) as port:
        url = f"nats://127.0.0.1:{port}"
        assert [try_to_connect(NatsConfig(), url) for _ in range(3)] == ["nats.auth"] * 3


def test_a_server_that_only_offers_tls_is_spoken_to_over_it(tmp_path: Path, pki: dict[str, Path]) -> None:
    with serving(tmp_path, tls_config(pki) + "\nallow_non_tls: true\n" + USERS) as server:
        config = NatsConfig.model_validate({"user": "vigil", "password": "s3cr3t", "tls": {"ca": pki["ca"]}})
        assert try_to_connect(config, server.url) is None
        wrong = config.model_copy(update={"tls": NatsTls(ca=pki["other_ca"])})
        assert try_to_connect(wrong, server.url) == "nats.tls"


# -- what is told, and that it comes back


def test_a_refused_login_is_told_once_and_is_over_once_it_is_let_in(tmp_path: Path) -> None:
    with serving(tmp_path, 'authorization {user: vigil, password: "other"}') as server:

        async def script(connection: Connection) -> None:
            await until(lambda: codes(connection) == [Code.AUTH])
            attempts = server.log.read_text().count("authentication error")
            await until(lambda: server.log.read_text().count("authentication error") > attempts + 1)
            server.reload('authorization {user: vigil, password: "s3cr3t"}')
            await until(lambda: connection.connected and not codes(connection))

        with structlog.testing.capture_logs() as logs:
            play(NatsConfig(user="vigil", password="s3cr3t"), server.url, script)
    told = [line for line in logs if line.get("code") == "nats.auth"]
    assert [line["log_level"] for line in told] == ["warning", "info"]
    assert told[0]["mend"]
    assert "s3cr3t" not in str(logs)


def test_a_login_that_is_taken_away_ends_no_connection_for_good(tmp_path: Path) -> None:
    """nats-py by itself closes such a client, and nothing would be published ever again."""
    with serving(tmp_path, USERS) as server:

        async def script(connection: Connection) -> None:
            await until(lambda: connection.connected)
            client = connection.client
            assert client is not None
            heard = await client.subscribe("vigil.x")
            server.reload(USERS.replace("s3cr3t", "other"))
            await until(lambda: codes(connection) == [Code.AUTH])
            server.reload(USERS)
            await until(lambda: connection.connected)
            await client.publish("vigil.x", b"hello")
            assert (await heard.next_msg(10)).data == b"hello"

        play(NatsConfig(user="vigil", password="s3cr3t"), server.url, script)


def test_a_server_that_goes_and_comes_is_unreachable_meanwhile(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        tolds: list[float] = []

        async def main() -> None:
            connection = Connection(NatsConfig(), server.url, "test", tolds.append)
            await connection.open()
            server.stop()
            await until(lambda: codes(connection) == [Code.UNREACHABLE])
            server.start()
            await until(lambda: connection.connected and not codes(connection))
            await connection.close(2)

        asyncio.run(main())
    assert tolds[:3] == [1, 0, 1]


def test_a_refused_subject_is_named_once_with_what_to_allow(guarded: Server) -> None:
    counts: dict[str, int] = {}

    async def main() -> None:
        troubles = Troubles(counts.__setitem__)
        config = NatsConfig(user="meek", password="s3cr3t")
        connection = Connection(config, guarded.url, "test", lambda standing: None, troubles)
        client = await connection.open()
        for number in range(20):
            await client.publish("vigil.hq.frames.gate", b"fine")
            await client.publish(f"vigil.hq.events.gate{number}.track.started", b"refused")
        await client.subscribe("vigil.hq.control.streams.list")
        await until(lambda: len(connection.troubles.now()) > 1)
        told = connection.troubles.told()
        assert [one["about"] for one in told] == ["publish to vigil.hq.events.>", "subscribe to vigil.hq.control.>"]
        assert {one["code"] for one in told} == {"nats.permission"}
        assert "vigil.hq.events.gate0.track.started" in told[0]["message"]
        assert "`vigil.hq.events.>`" in told[0]["mend"]
        assert {code: count for code, count in counts.items() if count} == {"nats.permission": 2}
        assert connection.connected
        await connection.close(2)

    with structlog.testing.capture_logs() as logs:
        asyncio.run(main())
    assert len([line for line in logs if line.get("code") == "nats.permission"]) == 2


def test_what_is_not_refused_again_for_a_minute_counts_as_allowed() -> None:
    from publish.trouble import Trouble

    troubles = Troubles()
    trouble = Trouble(Code.PERMISSION, "may not", "allow it", "publish to x")
    troubles.begin(trouble, lasting=False)
    began_s = troubles._last_refused_s[Code.PERMISSION, "publish to x"]
    troubles.forget_old(began_s + 59)
    assert troubles.now() == [trouble]
    troubles.forget_old(began_s + 61)
    assert troubles.now() == []
