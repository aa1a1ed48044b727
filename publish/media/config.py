"""What a user may set about snapshots, clips, and where they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from tracking.events import EventType

# Where something begins, and where a track is told of as a whole.
TOLD_WITH_PICTURES = (
    EventType.TRACK_ENDED, EventType.ZONE_ENTERED, EventType.ZONE_DWELL, EventType.ZONE_CROWDED, EventType.ZONE_STOPPED,
    EventType.ZONE_LOITERING, EventType.ZONE_ABANDONED, EventType.ZONE_SPEEDING, EventType.LINE_CROSSED,
)  # fmt: skip
DAY_S = 86400.0


class SnapshotsConfig(BaseModel):
    """Pictures of a stream's events: of the track in its best view at its end, else of the frame of the event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: tuple[EventType, ...] = Field(TOLD_WITH_PICTURES, description="The types of events that get pictures.")
    crop: bool = Field(True, description="A picture of the object alone, with a tenth of its size around it.")
    frame: bool = Field(True, description="A picture of the whole frame.")
    boxes: bool = Field(False, description="The tracks' boxes and classes are drawn into the whole frame.")
    quality: int = Field(85, ge=1, le=100, description="JPEG quality.")
    max_side: int = Field(1280, ge=64, le=8192, description="Pictures are made smaller to this many pixels a side.")
    per_minute: float = Field(
        60.0, gt=0, le=6000, description="At most so many events a minute get pictures; the others are told without."
    )
    memory: int = Field(
        16 << 20, ge=1 << 20, le=1 << 30, description="Bytes for the best views of tracks that are still there; the "
        "views that are longest unchanged go.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _show_something(self) -> SnapshotsConfig:
        if not self.crop and not self.frame:
            raise ValueError("with neither `crop` nor `frame` there is no picture; set one, or remove `snapshots`")
        return self


class ClipsConfig(BaseModel):
    """Video of a stream's events, cut from the camera's own packets: as sharp as the camera's, without sound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: tuple[EventType, ...] = Field(TOLD_WITH_PICTURES, description="The types of events that get clips.")
    before: float = Field(
        5.0, ge=0, le=60, description="Seconds before the event; a clip begins with the key frame before that."
    )
    after: float = Field(5.0, ge=0, le=60, description="Seconds after the event.")
    longest: float = Field(
        60.0,
        gt=0,
        le=600,
        description="Seconds. Events share a clip while it is not over, which gets no longer by them.",
    )
    per_minute: float = Field(10.0, gt=0, le=600, description="At most so many clips a minute begin.")
    memory: int = Field(
        64 << 20, ge=1 << 20, le=1 << 30, description="Bytes for the packets of the last seconds; with more, clips "
        "begin later or end early.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_event_fits(self) -> ClipsConfig:
        if self.longest < self.before + self.after:
            raise ValueError(f"`longest` must be at least `before` and `after` together, {self.before + self.after:g}")
        return self


class NatsObjectsConfig(BaseModel):
    """A bucket of NATS' object store, on the server of `nats.url`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bucket: str = Field("VIGIL_MEDIA", pattern=r"^[A-Za-z0-9_-]+$", description="Made when there is none.")


class S3Config(BaseModel):
    """A bucket of S3, or of a server that speaks it (MinIO, Ceph)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bucket: str = Field(min_length=3, max_length=63, description="It must exist.")
    endpoint_url: str | None = Field(
        None, pattern=r"^https?://[^@\s]+$", description="Of another server than Amazon's, `http://minio:9000`."
    )
    region: str | None = Field(None, description="Default: what the environment says.")
    prefix: str = Field(
        "", pattern=r"^([A-Za-z0-9._-]+/)*$", description="What all keys begin with; empty, or ending in `/`."
    )
    access_key: SecretStr | None = Field(None, description="Default: what the environment or the machine's role gives.")
    secret_key: SecretStr | None = Field(None, description="Goes with `access_key`.")
    link_seconds: int = Field(
        3600, ge=1, le=604800, description="How long a link that `/api/v1/media/` redirects to can be used."
    )

    @model_validator(mode="after")
    def _both_keys_or_none(self) -> S3Config:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("`access_key` and `secret_key` go together; set both, or neither")
        return self


class MediaConfig(BaseModel):
    """Where pictures and clips are kept, and for how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: Literal["folder", "nats", "s3"] = Field(
        "folder", description="`folder`: on this machine's disk; `nats`: NATS' object store; `s3`: S3 or the like."
    )
    folder: Path | None = Field(
        None, description="For `folder` where they are kept, else where they wait for the store; default: `media` in "
        "`state_dir`.",
    )  # fmt: skip
    nats: NatsObjectsConfig = Field(default_factory=lambda: NatsObjectsConfig())
    s3: S3Config | None = Field(None, description="For `store: s3`.")
    max_age: float = Field(7 * DAY_S, ge=60, description="Seconds after which pictures and clips are removed.")
    max_bytes: int = Field(10 << 30, ge=1 << 20, description="Bytes in all, beyond which the oldest are removed.")
    backlog: int = Field(
        1 << 30, ge=1 << 20, description="`nats` and `s3`: bytes that may wait on disk while the store is away; the "
        "oldest go.",
    )  # fmt: skip
    least_free: int = Field(
        512 << 20, ge=0, description="Nothing is written when the disk has fewer bytes left than this, so that events "
        "and all else go on.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _s3_has_a_bucket(self) -> MediaConfig:
        if self.store == "s3" and self.s3 is None:
            raise ValueError("`store: s3` needs a bucket: add `s3: {bucket: …}`")
        return self
