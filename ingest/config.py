"""What a user may set about a stream's source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from ingest.addresses import CHECKS
from ingest.polygon import Polygon, cover_all
from ingest.sources import SCHEMES

if TYPE_CHECKING:
    from ingest.privacy import PrivacyMasks

MaskName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]


class PrivacyMask(BaseModel):
    """A part of the picture that nobody may see."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    polygon: Polygon


class SourceConfig(BaseModel):
    """Where a stream's frames come from and how they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        description="`rtsp://…`, `rtsps://…`, `rtmp://…`, `http://…` (HLS, MJPEG, MPEG-TS), `udp://…` (MPEG-TS), "
        "`srt://…`, `v4l2:///dev/video0`, `scene://street`, `whip://` (publishers send to `/whip/<id>`), the path "
        "of a video file or of a folder of pictures. Percent-encode special characters in "
        "passwords; `${VAR}` and `${file:/run/secrets/x}` are filled in.",
        min_length=1,
    )
    transport: Literal["auto", "tcp", "udp"] = Field(
        "auto", description="RTSP only. `auto`: TCP, or UDP where the camera refuses TCP."
    )
    tls_verify: bool = Field(
        True,
        description="`rtsps`, `rtmps` and `https` only: accept only certificates that an authority known to this "
        "machine vouches for. Most cameras sign their own, which takes `false`: encrypted, but to whom is not known.",
    )
    token: SecretStr | None = Field(
        None, description="WHIP only: publishers send `Authorization: Bearer <token>`; `http.token` serves as well."
    )
    fps: float | None = Field(
        None, gt=0, le=240, description="Analyse at most this many frames a second; default: every frame."
    )
    loop: bool = Field(False, description="Files and folders only: start again at the end.")
    pace: Literal["realtime", "fast"] = Field(
        "realtime", description="Files and folders only: play at the video's own speed, or as fast as possible."
    )
    on_full: Literal["drop", "block"] = Field(
        "drop",
        description="When the detector is busy: `drop` the older frame (live), or `block` the reader and lose none "
        "(files).",
    )
    decoder: Literal["auto", "cpu", "nvdec", "vaapi", "qsv"] = Field(
        "auto",
        description="What decodes: `nvdec` is an NVIDIA GPU's decoder, `vaapi` and `qsv` are those of Intel and AMD; "
        "`auto`: `nvdec` when the detector is on a GPU. What it cannot decode the CPU does, and says so.",
    )
    connect_timeout: float = Field(5.0, gt=0, le=120, description="Seconds to connect before giving up.")
    read_timeout: float = Field(
        5.0, gt=0, le=120, description="Seconds without a new picture before reconnecting; half of it, and the stream "
        "is `stalled`.",
    )  # fmt: skip
    frozen_timeout: float | None = Field(
        60.0,
        gt=0,
        le=3600,
        description="Live sources only: seconds of one and the same picture, to the last bit, before reconnecting. A "
        "picture that is the same afterwards is given twice as long each time, up to an hour. `null`: as long as it "
        "likes.",
    )

    privacy_masks: dict[MaskName, PrivacyMask] = Field(
        default_factory=dict,
        description="Parts of the picture that nobody may see, by name: filled before the detector, a preview or a "
        "recording gets the picture.",
    )

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        scheme = _scheme(url)
        if scheme not in SCHEMES:
            raise ValueError(
                f"sources of type {scheme!r} are not supported; use one of {', '.join(SCHEMES)}, or a path"
            )
        if scheme in CHECKS:
            CHECKS[scheme](url)
        if scheme == "whip" and url.lower() != "whip://":
            raise ValueError("write `whip://` and nothing after it: publishers send to /whip/<id of the stream>")
        return url

    @field_validator("privacy_masks")
    @classmethod
    def _leave_something(cls, masks: dict[str, PrivacyMask]) -> dict[str, PrivacyMask]:
        if masks and cover_all([mask.polygon for mask in masks.values()]):
            raise ValueError("together they hide the whole picture; leave a part of it, or remove the stream")
        return masks

    @model_validator(mode="after")
    def _only_publishers_have_a_token(self) -> SourceConfig:
        if self.token is not None and self.scheme != "whip":
            raise ValueError("`token` is for publishers, `url: whip://`; remove it")
        return self

    @model_validator(mode="after")
    def _pictures_stay_encrypted(self) -> Self:
        if self.scheme == "rtsps" and self.transport == "udp":
            raise ValueError("rtsps protects the pictures over TCP only; remove `transport: udp`")
        return self

    @property
    def masks(self) -> PrivacyMasks | None:
        """What fills the privacy masks, if there are any; a new one each time, for one reader."""
        if not self.privacy_masks:
            return None
        from ingest.privacy import PrivacyMasks  # slow to import, and the supervisor needs none

        return PrivacyMasks([mask.polygon for mask in self.privacy_masks.values()])

    @property
    def is_file(self) -> bool:
        """A video file or a folder of pictures."""
        return self.scheme == "file"

    @property
    def is_folder(self) -> bool:
        return self.is_file and self.file_path.is_dir()

    @property
    def is_live(self) -> bool:
        """Whether the other side sets the pace, and can fall silent."""
        return not self.is_file and self.scheme != "scene"

    @property
    def is_hls(self) -> bool:
        return self.scheme in ("http", "https") and urlsplit(self.url).path.lower().endswith(".m3u8")

    @property
    def is_paced(self) -> bool:
        """Whether frames are held until their time: of recordings, and of HLS, whose segments arrive whole."""
        return self.is_hls or self.scheme == "scene" or (self.is_file and self.pace == "realtime")

    @property
    def scheme(self) -> str:
        """Which kind of source the URL names, a key of `ingest.sources.SCHEMES`."""
        return _scheme(self.url)

    @property
    def file_path(self) -> Path:
        """The path of a file source."""
        return Path(re.sub("^file://", "", self.url, flags=re.IGNORECASE))

    @property
    def ends(self) -> bool:
        """Whether this source comes to an end of its own."""
        return self.is_file and not self.loop


def _scheme(url: str) -> str:
    if url.startswith("/dev/video"):
        return "v4l2"
    return url.split("://", 1)[0].lower() if "://" in url else "file"
