"""What a user may set about tracking."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tracking.trackers import TRACKERS


class TrackerConfig(BaseModel):
    """How boxes become tracks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field("bytetrack", description=f"One of {', '.join(TRACKERS)}, or `module:Class`.")
    high_confidence: float = Field(
        0.4, gt=0, lt=1, description="Boxes of at least this score start tracks and are matched first."
    )
    low_confidence: float = Field(0.1, gt=0, lt=1, description="Weaker boxes down to this keep a known track going.")
    match_threshold: float = Field(0.8, gt=0, le=1, description="Largest cost (1 - IoU x score) of a match.")
    lost_after: float = Field(1.5, gt=0, le=300, description="Seconds without a match after which a track has ended.")

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in TRACKERS and ":" not in kind:
            raise ValueError(f"is no tracker; use {', '.join(TRACKERS)}, or module:Class")
        return kind
