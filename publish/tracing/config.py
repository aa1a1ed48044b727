"""What a user may set about traces."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

PATH = "/v1/traces"


class TelemetryConfig(BaseModel):
    """Where traces of frames go, and of how many."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    otlp_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+(/\S*)?$")] | None = Field(
        None, description="An OpenTelemetry collector that takes OTLP over HTTP, as `http://127.0.0.1:4318`; without a "
        "path, `/v1/traces` is meant. Default: no traces.",
    )  # fmt: skip
    sample: float = Field(0.01, ge=0, le=1, description="Share of the frames that are traced.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="HTTP headers for the collector, as `Authorization`."
    )

    @property
    def share(self) -> float:
        """Share of the frames that are traced; 0 without a collector."""
        return self.sample if self.otlp_endpoint is not None else 0.0

    @property
    def traces_url(self) -> str | None:
        """Where traces are sent."""
        if self.otlp_endpoint is None or urlsplit(self.otlp_endpoint).path not in ("", "/"):
            return self.otlp_endpoint
        return self.otlp_endpoint.rstrip("/") + PATH
