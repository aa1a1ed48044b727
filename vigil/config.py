"""The whole configuration: the stages' parts composed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from inference.config import DetectorConfig
from ingest.config import SourceConfig
from ingest.webrtc.config import WebRtcConfig
from publish.bridges.config import AnyBridgeConfig
from publish.config import STREAM_ID, HttpConfig, LogConfig, NatsConfig, OutboxConfig
from publish.media.config import ClipsConfig, MediaConfig, SnapshotsConfig
from publish.preview.config import PreviewConfig
from publish.tracing.config import TelemetryConfig
from tracking.attention.config import AttentionConfig
from tracking.config import TrackerConfig
from tracking.identity.config import IdentityConfig
from tracking.reid.config import OFF
from tracking.rules.config import GroundConfig, LineConfig, ZoneConfig

Settings = TypeVar("Settings", bound=BaseModel)

StreamId = Annotated[str, StringConstraints(pattern=STREAM_ID, max_length=64)]


class StreamConfig(SourceConfig):
    """One camera: its source, and what differs from the defaults for it."""

    paused: bool = Field(False, description="Known, and not connected to.")
    tracker: TrackerConfig | None = Field(
        None, description="Tracking for this stream: what is set here goes before the top-level settings."
    )
    attention: AttentionConfig = Field(
        default_factory=lambda: AttentionConfig(),
        description="Which frames the detector is asked about: `off` (all), `motion`, `adaptive`, or a mapping.",
    )
    detector: str | None = Field(
        None, description="Which of `detectors` analyses this stream; default: the one in `detector`."
    )
    zones: dict[StreamId, ZoneConfig] = Field(
        default_factory=dict, description="Areas of the picture by name: who enters, stays in and leaves them."
    )
    lines: dict[StreamId, LineConfig] = Field(
        default_factory=dict, description="Lines across the picture by name: who crosses them, and to which side."
    )
    ground: GroundConfig | None = Field(
        None, description="Four points of the ground and where they are in metres: speeds are then in m/s."
    )
    heatmap_half_life: float = Field(
        3600.0, ge=1, le=31536000, description="Seconds in which the heat map forgets half of what it knows."
    )
    snapshots: SnapshotsConfig | None = Field(
        None, description="Pictures of events: `{}` for the defaults. Default: none."
    )
    clips: ClipsConfig | None = Field(
        None, description="Video of events, from the camera's own packets: `{}` for the defaults. Default: none."
    )
    weight: float = Field(
        1.0, gt=0, le=100, description="Share of the detector when it cannot serve all: twice the weight, twice the "
        "frames.",
    )  # fmt: skip


class WorkersConfig(BaseModel):
    """How streams are spread over processes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams_per_worker: int = Field(8, ge=1, le=256, description="A worker that dies takes this many streams with it.")
    slots_per_stream: int = Field(4, ge=2, le=64, description="Ring slots of each stream.")


class VigilConfig(BaseModel):
    """Everything `vigil run` needs to know."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: StreamId = Field("local", description="Name of this installation; part of every subject.")
    state_dir: Path | None = Field(
        None,
        description="Where the outbox is, and the embedded NATS server keeps its streams; default: "
        "~/.local/state/vigil/<site>.",
    )
    nats: NatsConfig = Field(default_factory=lambda: NatsConfig())
    outbox: OutboxConfig = Field(default_factory=lambda: OutboxConfig())
    detector: DetectorConfig = Field(default_factory=lambda: DetectorConfig())
    detectors: dict[StreamId, DetectorConfig] = Field(
        default_factory=dict, description="More detectors, by name, for streams to choose from; what one does not set "
        "is as in `detector`.",
    )  # fmt: skip
    tracker: TrackerConfig = Field(default_factory=lambda: TrackerConfig())
    identity: IdentityConfig = Field(default_factory=lambda: IdentityConfig())
    workers: WorkersConfig = Field(default_factory=lambda: WorkersConfig())
    http: HttpConfig = Field(default_factory=lambda: HttpConfig())
    webrtc: WebRtcConfig = Field(default_factory=lambda: WebRtcConfig())
    preview: PreviewConfig = Field(default_factory=lambda: PreviewConfig())
    media: MediaConfig = Field(default_factory=lambda: MediaConfig())
    log: LogConfig = Field(default_factory=lambda: LogConfig())
    telemetry: TelemetryConfig = Field(default_factory=lambda: TelemetryConfig())
    bridges: dict[StreamId, Annotated[AnyBridgeConfig, Field(discriminator="kind")]] = Field(
        default_factory=dict, description="Where else events go, by name: webhooks and MQTT brokers."
    )
    streams: dict[StreamId, StreamConfig] = Field(
        description="The cameras by id; ids are subject tokens, metric labels and URL parts."
    )

    def detector_of(self, stream: str) -> DetectorConfig:
        """The detector settings that apply to a stream."""
        return self.detector_settings(self.streams[stream].detector)

    def detector_settings(self, name: str | None) -> DetectorConfig:
        """The settings of one of `detectors`, or of the default."""
        if name is None:
            return self.detector
        own = self.detectors[name]
        elsewhere = {"devices": None} if "device" in own.model_fields_set else {}
        return _over(self.detector, own).model_copy(update=elsewhere)

    def tracker_of(self, stream: str) -> TrackerConfig:
        """The tracker settings that apply to a stream."""
        own = self.streams[stream].tracker
        return _over(self.tracker, own) if own else self.tracker

    def identity_of(self, stream: str) -> IdentityConfig | None:
        """How the stream's tracks are compared with those of other cameras; None where they are not."""
        identity = self.identity
        takes_part = identity.enabled and (identity.streams is None or stream in identity.streams)
        return identity.of_all if takes_part and self.tracker_of(stream).reid != OFF else None

    @property
    def revision(self) -> str:
        """Eight hex digits that change when the configuration does."""
        return _revision(self)

    def revision_of(self, stream: str) -> str:
        """Eight hex digits that change when what applies to the stream does."""
        settings = self.streams[stream], self.tracker_of(stream), self.detector_of(stream), self.identity_of(stream)
        return _revision(*(one for one in settings if one is not None))

    @property
    def state_folder(self) -> Path:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        return self.state_dir or base / "vigil" / self.site

    @property
    def media_folder(self) -> Path:
        """Where workers write pictures and clips."""
        return self.media.folder or self.state_folder / "media"


def _revision(*settings: BaseModel) -> str:
    return hashlib.sha256("".join(one.model_dump_json() for one in settings).encode()).hexdigest()[:8]


def _over(defaults: Settings, own: Settings) -> Settings:
    """The defaults with what was set in `own`, group by group."""
    update = {}
    for name in own.model_fields_set:
        theirs, ours = getattr(defaults, name), getattr(own, name)
        both = isinstance(ours, BaseModel) and type(ours) is type(theirs)
        update[name] = _over(theirs, ours) if both else ours
    return defaults.model_copy(update=update)
