"""What a user may set about WebRTC: how it gets through networks."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, SecretStr, field_validator, model_validator

_PORTS = re.compile(r"^([0-9]{1,5})-([0-9]{1,5})$")


class IceServer(BaseModel):
    """A STUN or TURN server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="`stun:host:port`, `turn:host:port`, `turn:host:port?transport=tcp` or `turns:host:port`.",
        pattern=r"^(stun:[^\s?:]+(:[0-9]{1,5})?|turns?:[^\s?:]+(:[0-9]{1,5})?(\?transport=(udp|tcp))?)$",
    )
    username: str | None = Field(None, description="TURN only.")
    credential: SecretStr | None = Field(None, description="TURN only: the password.")

    @model_validator(mode="after")
    def _turn_wants_a_login(self) -> IceServer:
        if self.url.startswith("turn") and (self.username is None or self.credential is None):
            raise ValueError("a TURN server needs `username` and `credential`")
        return self


class WebRtcConfig(BaseModel):
    """How WebRTC gets through networks: publishers that come by WHIP, viewers that come by WHEP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    udp_ports: str | None = Field(
        None,
        description="UDP ports to use, as `50000-50100`; each connection takes one. Default: any free ones. Publish "
        "the same ports from a container.",
    )
    advertise: list[IPvAnyAddress] = Field(
        default_factory=list,
        description="Addresses under which this machine is reached from outside, told to peers beside its own: the "
        "host's behind a container, the public one behind NAT.",
    )
    ice_servers: list[IceServer] = Field(
        default_factory=list, description="STUN and TURN servers, for this side and, as `Link` headers, for the other."
    )

    @field_validator("udp_ports")
    @classmethod
    def _is_a_range(cls, ports: str | None) -> str | None:
        if ports is not None:
            match = _PORTS.match(ports)
            if match is None or not 1024 <= int(match[1]) <= int(match[2]) <= 65535:
                raise ValueError("must be a range within 1024-65535, as `50000-50100`")
        return ports

    @property
    def ports(self) -> range | None:
        """The UDP ports to use; None: any."""
        if self.udp_ports is None:
            return None
        first, last = self.udp_ports.split("-")
        return range(int(first), int(last) + 1)

    def in_clear(self) -> dict[str, Any]:
        """As JSON with its secrets, for private sockets only."""
        servers = [
            {"url": server.url, "username": server.username,
             "credential": server.credential.get_secret_value() if server.credential else None}
            for server in self.ice_servers
        ]  # fmt: skip
        return {**self.model_dump(mode="json"), "ice_servers": servers}
