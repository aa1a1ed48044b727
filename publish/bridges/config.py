"""What a user may set about bridges."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from publish.config import STREAM_ID
from tracking.events import CountType, EventType

EVENT_TYPES = [*(one.value for one in EventType), *(one.value for one in CountType)]
SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = (24, 64)
_HEADER = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
_SECRET_MEND = "make one with `echo whsec_$(openssl rand -base64 32)`"  # noqa: S105
OWN_HEADERS = ("content-type", "content-length", "host", "idempotency-key")
OWN_HEADER_PREFIXES = ("webhook-", "ce-")


class BridgeConfig(BaseModel):
    """What all bridges have: which events they carry, and when they give one up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    streams: list[Annotated[str, Field(pattern=STREAM_ID)]] | None = Field(
        None, min_length=1, description="Only events of these streams. Default: of all."
    )
    types: list[str] | None = Field(None, min_length=1, description="Only events of these types. Default: all.")
    classes: list[str] | None = Field(
        None, min_length=1, description="Only events of objects of these classes; reports of counts pass. Default: all."
    )
    zones: list[str] | None = Field(
        None, min_length=1, description="Only events of these zones and lines. Default: all, and those of none."
    )
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="Only events of objects that were once seen with this score; reports pass."
    )
    tries: int | None = Field(
        5, ge=1, description="An event that the peer refuses for good is tried so often and then skipped, counted and "
        "logged. null: never skipped; the stream's later events wait behind it.",
    )  # fmt: skip
    retry_for: float | None = Field(
        None, gt=0, description="Seconds after which an event that could not be delivered is skipped. Default: never, "
        "it is tried until the events stream forgets it.",
    )  # fmt: skip
    concurrency: int = Field(
        8, ge=1, le=64, description="Deliveries underway at once; of each stream one at a time, in order."
    )
    timeout: float = Field(10.0, gt=0, le=120, description="Seconds in which the peer must have answered.")

    @field_validator("types")
    @classmethod
    def _known_types(cls, types: list[str] | None) -> list[str] | None:
        if unknown := [one for one in types or [] if one not in EVENT_TYPES]:
            raise ValueError(f"there is no event type {unknown[0]!r}; known: {', '.join(EVENT_TYPES)}")
        return types


class WebhookConfig(BridgeConfig):
    """Each event is an HTTP POST."""

    kind: Literal["webhook"]
    url: SecretStr = Field(
        description="Where events are sent, https:// or http://. It is never shown but for its host, as it may be a "
        "secret itself.",
    )  # fmt: skip
    secret: SecretStr | None = Field(
        None, description="`whsec_` and 24 to 64 bytes in base64: requests are signed with it (Standard Webhooks). "
        "Default: they are not.",
    )  # fmt: skip
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers to send with each request, such as Authorization."
    )

    @field_validator("url")
    @classmethod
    def _http(cls, url: SecretStr) -> SecretStr:
        _split(url.get_secret_value(), ("http", "https"))
        return url

    @field_validator("secret")
    @classmethod
    def _decodes(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not SECRET_BYTES[0] <= len(key_of(secret)) <= SECRET_BYTES[1]:
            raise ValueError(f"must hold 24 to 64 bytes; {_SECRET_MEND}")
        return secret

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER.match(name):
                raise ValueError(f"{name!r} is not a header's name")
            if name.lower() in OWN_HEADERS or name.lower().startswith(OWN_HEADER_PREFIXES):
                raise ValueError(f"{name} is set by the bridge itself")
            if not value.get_secret_value().isprintable():
                raise ValueError(f"the value of {name} holds characters that no header may have, such as a line's end")
        return headers

    @model_validator(mode="after")
    def _one_login(self) -> WebhookConfig:
        if urlsplit(self.url.get_secret_value()).username and "authorization" in map(str.lower, self.headers):
            raise ValueError("has a login in `url` and an Authorization header: keep one of them")
        return self


class HomeAssistantConfig(BaseModel):
    """Cameras as devices of Home Assistant, found by MQTT discovery."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="Whether to announce the cameras.")
    prefix: str = Field(
        "homeassistant", pattern=r"^[^/+#\s][^+#\s]*$", description="Home Assistant's discovery prefix."
    )


class MqttConfig(BridgeConfig):
    """Events, states and counts of objects as MQTT topics."""

    kind: Literal["mqtt"]
    url: str = Field(
        description="The broker: mqtt://host or mqtts://host (TLS), with a port if it is not 1883 or 8883."
    )
    username: str | None = Field(None, description="The broker's login. Default: none.")
    password: SecretStr | None = Field(None, description="Its password.")
    ca: Path | None = Field(
        None, description="mqtts: a file with the authorities that may vouch for the broker. Default: this machine's."
    )
    prefix: str | None = Field(
        None,
        pattern=r"^[^/+#\s]([^+#\s]*[^/+#\s])?$",
        description="First levels of every topic; default: `vigil/<site>`.",
    )
    events: bool = Field(True, description="Whether to publish events, beside the counts of objects and the states.")
    home_assistant: HomeAssistantConfig = Field(default_factory=lambda: HomeAssistantConfig())

    @field_validator("url")
    @classmethod
    def _broker(cls, url: str) -> str:
        split = _split(url, ("mqtt", "mqtts"))
        if split.username or split.password:
            raise ValueError("must not hold a login: use `username` and `password`")
        if split.path.strip("/") or split.query:
            raise ValueError("must be mqtt://host:port, with nothing after it")
        return url

    @model_validator(mode="after")
    def _whole(self) -> MqttConfig:
        if self.password is not None and self.username is None:
            raise ValueError("a password needs a `username`")
        if self.ca is not None and not self.url.startswith("mqtts://"):
            raise ValueError("`ca` is for mqtts:// only")
        return self


AnyBridgeConfig = WebhookConfig | MqttConfig
BRIDGE_CONFIGS: dict[str, type[BridgeConfig]] = {"webhook": WebhookConfig, "mqtt": MqttConfig}


def _split(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """A URL's parts; the errors do not repeat it."""
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        split = urlsplit(url)
        port_holds = split.port != 0
    except ValueError:
        raise ValueError("is not a URL") from None
    if split.scheme not in schemes or not split.hostname or not port_holds:
        raise ValueError(f"must start with {wanted} and a host")
    return split


def key_of(secret: SecretStr) -> bytes:
    """The key that a `whsec_…` secret stands for.

    Raises:
        ValueError: it is none.
    """
    text = secret.get_secret_value()
    try:
        if not text.startswith(SECRET_PREFIX):
            raise ValueError
        return base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"must be `whsec_` and base64; {_SECRET_MEND}") from None


def revealed(value: Any) -> Any:
    """A config as plain JSON values, secrets in clear: for a private socket only."""
    match value:
        case BaseModel():
            return {name: revealed(getattr(value, name)) for name in type(value).model_fields}
        case SecretStr():
            return value.get_secret_value()
        case dict():
            return {key: revealed(one) for key, one in value.items()}
        case list():
            return [revealed(one) for one in value]
        case Path():
            return str(value)
    return value
