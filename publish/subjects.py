"""NATS subjects and JetStream streams by name."""

from __future__ import annotations

from dataclasses import dataclass

from publish.config import NatsConfig

EVENTS_STREAM = "VIGIL_EVENTS"
STATUS_STREAM = "VIGIL_STATUS"


@dataclass(frozen=True, slots=True)
class Subjects:
    """All subjects of one site; stream ids are single tokens, so wildcards mean what they say."""

    prefix: str

    @classmethod
    def of(cls, config: NatsConfig, site: str) -> Subjects:
        return cls(config.prefix or f"vigil.{site}")

    def frames(self, stream: str) -> str:
        return f"{self.prefix}.frames.{stream}"

    def event(self, stream: str, event_type: str) -> str:
        return f"{self.prefix}.events.{stream}.{event_type}"

    def status(self, stream: str) -> str:
        return f"{self.prefix}.status.{stream}"

    def control(self, endpoint: str) -> str:
        return f"{self.prefix}.control.{endpoint}"

    @property
    def all_frames(self) -> str:
        return f"{self.prefix}.frames.*"

    @property
    def all_events(self) -> str:
        return f"{self.prefix}.events.*.>"

    @property
    def all_status(self) -> str:
        return f"{self.prefix}.status.*"
