"""What a user may set about the outside faces."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SerializationInfo,
    field_serializer,
    field_validator,
    model_validator,
)

from publish.schema.wire import Format

STREAM_ID = r"^[a-z0-9][a-z0-9_-]*$"
IN_CLEAR = "in_clear"
"""`model_dump(context={IN_CLEAR: True})` tells secrets: for a worker, over its private socket."""


class NatsTls(BaseModel):
    """How the connection to NATS is secured. With any of these set, nothing is ever sent over one that is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca: Path | None = Field(
        None, description="A PEM file with the authorities to trust; default: those known to this machine."
    )
    certificate: Path | None = Field(None, description="A PEM file with our certificate, for servers that want one.")
    key: Path | None = Field(None, description="A PEM file with its key; default: it is in the certificate's file.")
    host_name: str | None = Field(
        None, min_length=1, description="The name that the server's certificate must have; default: the URL's host."
    )
    first: bool = Field(
        False, description="Begin with TLS, before the server says anything: for servers with `handshake_first`."
    )

    @property
    def given(self) -> list[str]:
        """The settings that are not as they are by default."""
        return [name for name, value in self if value != type(self).model_fields[name].default]


class NatsConfig(BaseModel):
    """Where frame results and events are published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        "embedded",
        description="`embedded` starts a NATS server of Vigil's own on a free loopback port; or `nats://host:4222` "
        "(`tls://…`), several separated by commas. User and password or token may be part of the URL, percent-encoded.",
    )
    user: str | None = Field(None, min_length=1, description="Login at the NATS server, with `password`.")
    password: SecretStr | None = Field(None, description="The user's password.")
    token: SecretStr | None = Field(None, description="A token instead of a user.")
    nkey: Path | None = Field(None, description="A file with the seed of an NKey, to log in with instead.")
    prefix: str | None = Field(
        None,
        description="First tokens of every subject; default: `vigil.<site>`.",
        pattern=r"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$",
    )
    credentials: Path | None = Field(None, description="A NATS `.creds` file (JWT and key).")
    tls: NatsTls = Field(default_factory=lambda: NatsTls())
    port: int = Field(0, ge=0, le=65535, description="Port of the embedded server; 0: any free one.")
    frames_format: Format = Field(
        "json",
        description="How frame results are written: `json`, or `msgpack` (MessagePack), which is quicker to read.",
    )
    events_max_age: float = Field(
        7 * 86400, gt=0, description="Seconds for which the events stream keeps events (when Vigil creates it)."
    )
    events_max_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Bytes after which the events stream drops its oldest events."
    )
    storage: Literal["file", "memory"] = Field(
        "file", description="Where JetStream keeps the streams (when Vigil creates them)."
    )
    replicas: int = Field(
        1, ge=1, le=5, description="Servers of a cluster that keep a copy of each stream (when Vigil creates it)."
    )

    @field_serializer("password", "token", when_used="json")
    def _told(self, secret: SecretStr | None, info: SerializationInfo) -> str | None:
        in_clear = (info.context or {}).get(IN_CLEAR)
        return None if secret is None else secret.get_secret_value() if in_clear else str(secret)

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        for one in url.split(","):
            if one != "embedded" and not one.startswith(("nats://", "tls://", "ws://", "wss://")):
                raise ValueError("must be `embedded`, or start with nats://, tls://, ws:// or wss://")
        return url


class OutboxConfig(BaseModel):
    """What events may take on disk while NATS is away; then the oldest go, counted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_bytes: int = Field(1 << 30, ge=1 << 20, description="Bytes on disk.")
    max_age: float = Field(
        7 * 86400, gt=0, description="Seconds in which the service ran and could not deliver; a box that is off counts "
        "none.",
    )  # fmt: skip


class HttpTls(BaseModel):
    """A certificate for HTTPS; files that change are read anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cert: Path = Field(description="A PEM file with the certificate and those between it and its authority.")
    key: Path = Field(description="A PEM file with its key.")


class HttpConfig(BaseModel):
    """The HTTP side: health, metrics, API, page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="Whether to listen at all.")
    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback wants a token.")
    port: int = Field(8600, ge=0, le=65535, description="0: any free one.")
    allow_origins: list[str] = Field(
        default_factory=list,
        description="Origins of web pages elsewhere that may publish to `/whip/` and play from `/whep/`, as "
        "`https://example.org`; `*`: all. "
        "Default: none.",
    )
    token: SecretStr | None = Field(
        None,
        min_length=1,
        description="With it set, everything but health and the empty page needs `Authorization: Bearer <token>`, or a "
        "login with it. Without it only programs on this machine are answered.",
    )
    read_token: SecretStr | None = Field(
        None,
        min_length=1,
        description="A second token, beside `token`, for who may look and change nothing: a wall screen, Prometheus.",
    )
    tls: HttpTls | None = Field(None, description="Serve HTTPS in place of HTTP.")
    trusted_proxies: list[str] = Field(
        default_factory=list,
        description="Addresses and networks of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are "
        "believed, as `127.0.0.1` or `10.0.0.0/8`. Default: none.",
    )
    requests_per_second: float = Field(
        100.0, ge=1, le=100_000, description="Requests that are answered for each client's address, in the long run."
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            ipaddress.ip_network(proxy)  # says what is wrong
        return proxies

    @model_validator(mode="after")
    def _two_tokens_differ(self) -> Self:
        if self.read_token is not None and self.token is None:
            raise ValueError("`read_token` is a second one beside `token`: set that as well")
        if self.read_token is not None and self.read_token == self.token:
            raise ValueError("`read_token` and `token` are the same; then nobody would only read")
        return self


class LogConfig(BaseModel):
    """What is logged and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console on a terminal, JSON lines otherwise."
    )
