"""What the supervisor tells a worker to do."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from publish.config import NatsConfig
from tracking.config import TrackerConfig
from vigil.config import StreamConfig


class StreamOrder(BaseModel):
    """One stream to serve: what applies to it, and the revision that names it.

    Its sessions must come after `last_session`, which another worker may have used.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    source: StreamConfig
    tracker: TrackerConfig
    config_rev: str
    last_session: int = 0

    def serves_as(self, other: StreamOrder) -> bool:
        """Whether who does the one does the other: what differs is the detector's, which comes by another way."""
        return (self.name, self.source, self.tracker) == (other.name, other.source, other.tracker)


class WorkerOrder(BaseModel):
    """A worker's streams by number, and what they share. Holds secrets in clear: it goes over a private socket only.

    Numbers are below `capacity`; streams may come and go later.
    """

    model_config = ConfigDict(frozen=True)

    site: str
    nats: NatsConfig
    nats_url: str
    capacity: int
    slots_per_stream: int
    streams: dict[int, StreamOrder]
