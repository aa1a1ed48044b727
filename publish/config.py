"""What a user may set about the outside faces."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

STREAM_ID = r"^[a-z0-9][a-z0-9_-]*$"


class NatsConfig(BaseModel):
    """Where frame results and events are published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        "embedded",
        description="`embedded` starts a NATS server of Vigil's own on a free loopback port; or `nats://host:4222` "
        "(`tls://…`), several separated by commas. User and password or token may be part of the URL.",
    )
    prefix: str | None = Field(
        None,
        description="First tokens of every subject; default: `vigil.<site>`.",
        pattern=r"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*$",
    )
    credentials: Path | None = Field(None, description="A NATS `.creds` file (JWT and key).")
    port: int = Field(0, ge=0, le=65535, description="Port of the embedded server; 0: any free one.")
    events_max_age: float = Field(
        7 * 86400, gt=0, description="Seconds for which the events stream keeps events (when Vigil creates it)."
    )
    events_max_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Bytes after which the events stream drops its oldest events."
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        for one in url.split(","):
            if one != "embedded" and not one.startswith(("nats://", "tls://", "ws://", "wss://")):
                raise ValueError("must be `embedded`, or start with nats://, tls://, ws:// or wss://")
        return url


class HttpConfig(BaseModel):
    """The HTTP side: health, metrics, API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="Whether to listen at all.")
    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback wants a token.")
    port: int = Field(8600, ge=0, le=65535, description="0: any free one.")
    allow_origins: list[str] = Field(
        default_factory=list,
        description="Origins of web pages elsewhere that may publish to `/whip/`, as `https://example.org`; `*`: all. "
        "Default: none.",
    )
    token: SecretStr | None = Field(
        None, description="With it set, everything but health needs `Authorization: Bearer <token>`."
    )


class LogConfig(BaseModel):
    """What is logged and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console on a terminal, JSON lines otherwise."
    )
