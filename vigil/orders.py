"""What the supervisor tells a worker to do."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from publish.config import NatsConfig
from tracking.config import TrackerConfig
from tracking.identity.config import IdentityConfig
from vigil.config import StreamConfig


class StreamOrder(BaseModel):
    """One stream to serve: what applies to it, and the revision that names it. `identity`: how its tracks are compared
    with those of other cameras, None where they are not.

    Its sessions must come after `last_session`, which another worker may have used.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    source: StreamConfig
    tracker: TrackerConfig
    config_rev: str
    identity: IdentityConfig | None = None
    last_session: int = 0

    def serves_as(self, other: StreamOrder) -> bool:
        """Whether who does the one does the other: what differs is the detector's, which comes by another way."""
        same = (getattr(self, what) == getattr(other, what) for what in ("name", "source", "tracker", "identity"))
        return all(same)


class MediaOrder(BaseModel):
    """Where to write pictures and clips, and how many bytes the disk is to have left."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    least_free: int


class WorkerOrder(BaseModel):
    """A worker's streams by number, and what they share. Holds secrets in clear: it goes over a private socket only.

    Numbers are below `capacity`; streams may come and go later. `traced` is the share of frames that are.
    """

    model_config = ConfigDict(frozen=True)

    site: str
    nats: NatsConfig
    nats_url: str
    outbox: Path
    media: MediaOrder
    capacity: int
    slots_per_stream: int
    streams: dict[int, StreamOrder]
    traced: float = 0.0
