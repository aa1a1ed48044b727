"""What the supervisor tells a worker to do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from publish.config import NatsConfig
from tracking.config import TrackerConfig
from vigil.config import StreamConfig


class StreamOrder(BaseModel):
    """One stream to serve; its sessions must come after `last_session`, which another worker may have used."""

    model_config = ConfigDict(frozen=True)

    name: str
    source: StreamConfig
    tracker: TrackerConfig
    last_session: int


class WorkerOrder(BaseModel):
    """A worker's streams and what they share. Holds secrets in clear: it goes over a private socket only.

    `confidence` is the least score of a reported box that belongs to no track; the detector may send weaker ones, for
    the tracker.
    """

    model_config = ConfigDict(frozen=True)

    site: str
    config_rev: str
    nats: NatsConfig
    nats_url: str
    confidence: float
    slots_per_stream: int
    streams: list[StreamOrder]
