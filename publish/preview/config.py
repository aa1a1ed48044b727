"""What a user may set about watching streams live."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PreviewConfig(BaseModel):
    """Live pictures for browsers and other WHEP players. How they get through networks is set in `webrtc`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="Whether streams can be watched by WHEP at all.")
    max_side: int = Field(
        1280, ge=64, le=4096, description="Pictures with burned-in boxes are made smaller to this many pixels a side."
    )
    fps: float = Field(15.0, gt=0, le=60, description="Pictures a second with burned-in boxes, at most.")
    bitrate_min: int = Field(
        300_000, ge=50_000, le=50_000_000, description="Bits a second of burned-in boxes' video on the worst network "
        "that is still catered for; viewers on a worse one see key frames only.",
    )  # fmt: skip
    bitrate_max: int = Field(2_500_000, ge=50_000, le=50_000_000, description="Bits a second on a good network.")
    viewers: int = Field(200, ge=1, le=10_000, description="Viewers at once, of all streams.")
    viewers_per_stream: int = Field(50, ge=1, le=10_000, description="Viewers of one stream at once.")
    linger: float = Field(
        5.0, ge=0, le=300, description="Seconds for which a stream is still prepared for viewers after the last left."
    )

    @model_validator(mode="after")
    def _bitrates_in_order(self) -> PreviewConfig:
        if self.bitrate_min > self.bitrate_max:
            raise ValueError(f"`bitrate_min` ({self.bitrate_min}) must not be above `bitrate_max` ({self.bitrate_max})")
        return self
