"""How a client of a NATS server says who it is, and how its connection is secured: nats-py's options from a config."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ingest.errors import VigilError
from ingest.redact import redact
from publish.config import NatsConfig

Conflict = tuple[str, str | None, str, str]
"""Setting, value if it may be shown, what is wrong with it, how to mend it."""

SECURE_SCHEMES = ("tls", "wss")
WEB_SCHEMES = ("ws", "wss")


class LoginError(VigilError):
    """A file that is needed to log in is missing or not what it must be; `setting` says which, below `nats`."""

    def __init__(self, code: str, setting: str, file: Path, message: str, mend: str) -> None:
        super().__init__(f"nats.{setting}: {message} ({file}); {mend}")
        self.code = code
        self.setting = setting
        self.file = file
        self.message = message
        self.mend = mend


@dataclass(frozen=True, slots=True)
class UrlLogin:
    """What a URL says before its `@`: a user and a password, or a token alone."""

    user: str | None = None
    password: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses without logins, and the logins that were in them."""

    urls: list[str]
    logins: frozenset[UrlLogin]

    @property
    def schemes(self) -> set[str]:
        return {url.partition("://")[0] for url in self.urls}


def servers_of(url: str) -> Servers:
    """The servers of a config's `url`, which separates several by commas."""
    urls, logins = [], set()
    for one in url.split(","):
        parts = urlsplit(one.strip())
        userinfo, at, host = parts.netloc.rpartition("@")
        if at:
            user, colon, password = userinfo.partition(":")
            logins.add(UrlLogin(unquote(user), unquote(password)) if colon else UrlLogin(token=unquote(user)))
        urls.append(parts._replace(netloc=host).geturl())
    return Servers(urls, frozenset(logins))


def options(config: NatsConfig, url: str) -> dict[str, Any]:
    """What `nats.connect` is given for this server; its URLs hold no login, so nothing that quotes them tells one.

    Raises:
        LoginError: a file that it takes is missing or wrong.
    """
    servers = servers_of(url)
    found: dict[str, Any] = {"servers": servers.urls}
    login = next(iter(servers.logins), UrlLogin())
    if config.user is not None and config.password is not None:
        login = UrlLogin(config.user, config.password.get_secret_value())
    elif config.token is not None:
        login = UrlLogin(token=config.token.get_secret_value())
    for name in ("user", "password", "token"):
        if (value := getattr(login, name)) is not None:
            found[name] = value
    if config.nkey is not None:
        _check_nkey(config)
        found["nkeys_seed"] = str(config.nkey)
    if config.credentials is not None:
        _check_credentials(config)
        found["user_credentials"] = str(config.credentials)
    if is_secured(config, url):
        found["tls"] = ssl_context(config)
        found["tls_handshake_first"] = config.tls.first
        if config.tls.host_name is not None:
            found["tls_hostname"] = config.tls.host_name
    return found


def is_secured(config: NatsConfig, url: str) -> bool:
    """Whether nothing may be sent to this server but over TLS."""
    return bool(config.tls.given) or bool(servers_of(url).schemes & set(SECURE_SCHEMES))


def ssl_context(config: NatsConfig) -> ssl.SSLContext:
    """Trusts what the config says, and checks the server's name.

    Raises:
        LoginError
    """
    tls = config.tls
    context = ssl.create_default_context()
    if tls.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _readable("tls.ca", tls.ca, lambda: context.load_verify_locations(tls.ca), "a PEM file of certificates")
    if tls.certificate is not None:
        certificate = tls.certificate
        what = "a PEM file of a certificate, with its key there or in `nats.tls.key`"
        _readable("tls.certificate", certificate, certificate.read_bytes, what)
        if tls.key is not None:
            _readable("tls.key", tls.key, tls.key.read_bytes, what)
        _readable("tls.certificate", certificate, lambda: context.load_cert_chain(certificate, tls.key, ""), what)
    return context


def conflicts(config: NatsConfig) -> list[Conflict]:
    """What does not go together in the settings."""
    found: list[Conflict] = []
    servers = servers_of(config.url)
    ways = {
        "user": config.user is not None or config.password is not None,
        "token": config.token is not None,
        "nkey": config.nkey is not None,
        "credentials": config.credentials is not None,
    }
    used = [name for name, is_used in ways.items() if is_used]
    if (config.user is None) != (config.password is None):
        there, missing = ("user", "password") if config.password is None else ("password", "user")
        found.append((there, None, f"is of no use without `{missing}`", f"set `nats.{missing}` as well"))
    if len(used) > 1:
        message = f"one login is enough, and there is `nats.{used[0]}` too"
        found += [(name, None, message, "keep one of them") for name in used[1:]]
    if used and servers.logins:
        message = "has a login in it, and so have the settings"
        found.append(("url", redact(config.url), message, f"take it out of the URL, or remove `nats.{used[0]}`"))
    if len(servers.logins) > 1:
        message = "has different logins for its servers"
        found.append(("url", redact(config.url), message, "servers of one cluster take the same: give that"))
    if config.url == "embedded":
        message = "the embedded server takes no login and no TLS, as it listens on loopback alone"
        tls = [f"tls.{name}" for name in config.tls.given]
        found += [(name, None, message, "remove it, or set `nats.url`") for name in [*used, *tls]]
    elif config.tls.given and "ws" in servers.schemes:
        found.append(("tls", None, "ws:// is not secured", "use wss://"))
    if servers.schemes & set(WEB_SCHEMES) and not servers.schemes <= set(WEB_SCHEMES):
        found.append(("url", redact(config.url), "mixes WebSocket and plain NATS", "use one of the two"))
    if config.tls.first and servers.schemes & set(WEB_SCHEMES):
        found.append(("tls.first", "true", "wss:// begins with TLS anyway", "remove it"))
    if config.tls.key is not None and config.tls.certificate is None:
        found.append(("tls.key", str(config.tls.key), "has no certificate", "set `nats.tls.certificate` as well"))
    return found


def file_problems(config: NatsConfig) -> list[LoginError]:
    """Which of the files that it takes to log in are missing or wrong."""
    found = []
    for check in (_check_nkey, _check_credentials, ssl_context):
        try:
            check(config)
        except LoginError as error:
            found.append(error)
    return found


def _check_nkey(config: NatsConfig) -> None:
    if config.nkey is not None:
        _check_seed("nkey", config.nkey, config.nkey.read_bytes, "the seed of a user's NKey, SU…")


def _check_credentials(config: NatsConfig) -> None:
    file = config.credentials
    if file is None:
        return

    def seed() -> bytes:
        text = file.read_bytes()
        if b"BEGIN NATS USER JWT" not in text:
            raise ValueError
        return text.partition(b"BEGIN USER NKEY SEED")[2].partition(b"\n")[2].partition(b"\n")[0]

    _check_seed("credentials", file, seed, "a `.creds` file as `nsc` writes it")


def _check_seed(setting: str, file: Path, read: Callable[[], bytes], what: str) -> None:
    def try_it() -> None:
        import nkeys

        seed = bytearray(read().strip())
        if seed[:2] != b"SU":
            raise ValueError
        nkeys.from_seed(seed).wipe()

    _readable(setting, file, try_it, what)


def _readable(setting: str, file: Path, read: Callable[[], object], what: str) -> None:
    """Reads a file, whose content must not show in what is told of it."""
    try:
        read()
    except FileNotFoundError:
        raise LoginError("config.file_missing", setting, file, "there is no such file", f"it must be {what}") from None
    except ssl.SSLError as error:
        words = f"is not {what}" + (f" ({error.reason})" if error.reason else "")
        raise LoginError("config.file_invalid", setting, file, words, "give the right file") from None
    except OSError as error:
        words = f"cannot be read: {error.strerror}"
        raise LoginError("config.unreadable", setting, file, words, "let Vigil's user read it") from None
    except Exception:  # nkeys and base64 have many words for it, some of which quote the seed
        raise LoginError("config.file_invalid", setting, file, f"is not {what}", "give the right file") from None
