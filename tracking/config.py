"""What a user may set about tracking."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tracking.reid.config import OFF, Reid
from tracking.trackers import TRACKERS

# Trackers that follow a moving camera by its picture.
CAMERA_MOTION = ("botsort", "strongsort", "deepocsort", "hybridsort", "boosttrack")
# Trackers that compare what objects look like; those of the second line make little sense without.
APPEARANCE = ("deepsort", "strongsort", "botsort", "deepocsort", "hybridsort", "boosttrack")
NOTHING_WITHOUT_APPEARANCE = ("deepsort", "strongsort")


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Cascade(_Parameters):
    """What the matching cascade of looks, then overlaps takes."""

    max_cosine_distance: float = Field(
        0.2, gt=0, le=2, description="Largest distance, 1 - cosine, of two looks of one object."
    )
    max_iou_distance: float = Field(0.7, gt=0, le=1, description="Largest cost, 1 - IoU, of a match by overlap.")
    n_init: int = Field(3, ge=1, le=100, description="Frames in a row in which a new track must be seen.")


class _Observations(_Parameters):
    """What going by observations, rather than by predictions, takes."""

    iou_threshold: float = Field(0.3, ge=0, lt=1, description="Least IoU of a match.")
    min_hits: int = Field(3, ge=1, le=100, description="Frames in a row in which a new track must be seen.")
    delta_t: int = Field(3, ge=1, le=30, description="Frame intervals over which an object's direction is taken.")
    inertia: float = Field(0.2, ge=0, le=1, description="Weight of the direction against the overlap.")


class DeepSortConfig(_Cascade):
    """DeepSORT's own (Wojke et al., 2017)."""

    nn_budget: int = Field(100, ge=1, le=1000, description="Looks remembered of each track.")


class StrongSortConfig(_Cascade):
    """StrongSORT's own (Du et al., 2022)."""

    appearance_weight: float = Field(0.98, ge=0, le=1, description="The rest, to 1, is the weight of motion.")
    ema_alpha: float = Field(0.9, ge=0, lt=1, description="How much of a track's look stays when it is seen again.")


class BotSortConfig(_Parameters):
    """BoT-SORT's own (Aharon et al., 2022); it takes `match_threshold` too."""

    proximity_threshold: float = Field(
        0.5, gt=0, le=1, description="Largest cost, 1 - IoU, at which looks are compared."
    )
    appearance_threshold: float = Field(
        0.25, gt=0, le=2, description="Largest distance, 1 - cosine, of two looks of one object."
    )
    fuse_score: bool = Field(True, description="Weighs overlaps by the boxes' scores, as ByteTrack does.")


class OcSortConfig(_Observations):
    """OC-SORT's own (Cao et al., 2023)."""

    use_byte: bool = Field(False, description="Weak boxes keep known tracks going, as in ByteTrack.")


class DeepOcSortConfig(_Observations):
    """Deep OC-SORT's own (Maggiolino et al., 2023)."""

    appearance_weight: float = Field(0.75, ge=0, le=10, description="Weight of looks against the overlap.")
    ema_alpha: float = Field(
        0.95, ge=0, lt=1, description="How much of a track's look stays when it is seen again with certainty."
    )
    adaptive_weighting: bool = Field(True, description="Looks count for more where they tell objects apart better.")


class HybridSortConfig(_Parameters):
    """Hybrid-SORT's own (Yang et al., 2024)."""

    iou_threshold: float = Field(0.3, ge=0, lt=1, description="Least overlap of a match.")
    association: Literal["iou", "hmiou", "giou", "diou", "ciou"] = Field(
        "hmiou", description="How overlap is measured; hmiou: IoU times the overlap in height."
    )
    min_hits: int = Field(3, ge=1, le=100, description="Frames in a row in which a new track must be seen.")
    delta_t: int = Field(3, ge=1, le=30, description="Frame intervals over which an object's direction is taken.")
    inertia: float = Field(0.05, ge=0, le=1, description="Weight of the direction against the overlap.")
    use_byte: bool = Field(True, description="Weak boxes keep known tracks going, as in ByteTrack.")
    appearance_weight: float = Field(4.6, ge=0, le=10, description="Weight of looks against the overlap.")
    weak_appearance_weight: float = Field(1.3, ge=0, le=10, description="The same for weak boxes.")
    ema_alpha: float = Field(0.9, ge=0, lt=1, description="How much of a track's look stays when it is seen again.")


class BoostTrackConfig(_Parameters):
    """BoostTrack's own (Stanojevic et al., 2024)."""

    iou_threshold: float = Field(0.3, ge=0, lt=1, description="Least IoU of a match.")
    min_hits: int = Field(3, ge=1, le=100, description="Frames in a row in which a new track must be seen.")
    lambda_iou: float = Field(0.5, ge=0, le=10, description="Weight of the overlap times both confidences.")
    lambda_mhd: float = Field(0.25, ge=0, le=10, description="Weight of the Mahalanobis distance.")
    lambda_shape: float = Field(0.25, ge=0, le=10, description="Weight of the shape.")
    boost_known: bool = Field(True, description="Raises the score of boxes where an object is expected.")
    boost_unknown: bool = Field(True, description="Raises the score of boxes where none can be one of the known.")
    plus_plus: bool = Field(True, description="Boosts as BoostTrack++ does (Stanojevic et al., 2024).")
    max_aspect_ratio: float | None = Field(
        None, gt=0, le=100, description="Wider boxes, width / height, are not told; 1.6 in the paper, for pedestrians."
    )


class TrackerConfig(BaseModel):
    """How boxes become tracks. What only some trackers know is in a group that has the tracker's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(
        "bytetrack", description=f"One of {', '.join(TRACKERS)}, or `module:Class`.",
        json_schema_extra={"anyOf": [{"enum": list(TRACKERS)}, {"pattern": ":"}]},
    )  # fmt: skip
    high_confidence: float = Field(
        0.4, gt=0, lt=1, description="Boxes of at least this score start tracks and are matched first."
    )
    low_confidence: float = Field(0.1, gt=0, lt=1, description="Weaker boxes down to this keep a known track going.")
    match_threshold: float = Field(
        0.8, gt=0, le=1, description="Largest cost (1 - IoU x score) of a match of bytetrack and botsort."
    )
    lost_after: float = Field(1.5, gt=0, le=300, description="Seconds without a match after which a track has ended.")
    updates: float | None = Field(
        5.0, gt=0, le=3600, description="Seconds of media time between two `track.updated` of a track, at least; null: "
        "there are none.",
    )  # fmt: skip
    reid: Reid = OFF
    per_class: bool = Field(False, description="A track's boxes are all of one class.")
    camera_motion: Literal["off", "sparse_flow", "ecc"] = Field(
        "off", description=f"How a camera's own motion is found, if it moves; with {', '.join(CAMERA_MOTION)}."
    )
    deepsort: DeepSortConfig = Field(default_factory=lambda: DeepSortConfig())
    strongsort: StrongSortConfig = Field(default_factory=lambda: StrongSortConfig())
    botsort: BotSortConfig = Field(default_factory=lambda: BotSortConfig())
    ocsort: OcSortConfig = Field(default_factory=lambda: OcSortConfig())
    deepocsort: DeepOcSortConfig = Field(default_factory=lambda: DeepOcSortConfig())
    hybridsort: HybridSortConfig = Field(default_factory=lambda: HybridSortConfig())
    boosttrack: BoostTrackConfig = Field(default_factory=lambda: BoostTrackConfig())

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in TRACKERS and ":" not in kind:
            raise ValueError(f"is no tracker; use {', '.join(TRACKERS)}, or module:Class")
        return kind

    @field_validator("camera_motion", mode="before")
    @classmethod
    def _off(cls, method: object) -> object:
        return "off" if method is False else method  # YAML takes `off` for a truth value


Conflict = tuple[str, str, str, str]
"""Field, value, what is wrong with it, how to mend it."""


def conflicts(config: TrackerConfig) -> list[Conflict]:
    """What does not go together in the settings that apply to a stream."""
    found: list[Conflict] = []
    if config.camera_motion != "off" and config.kind in TRACKERS and config.kind not in CAMERA_MOTION:
        message = f"{config.kind} does not follow a moving camera"
        mend = f"use `off`, or kind: {', '.join(CAMERA_MOTION)}"
        found.append(("camera_motion", config.camera_motion, message, mend))
    if config.kind in NOTHING_WITHOUT_APPEARANCE and config.reid == OFF:
        message = "compares what objects look like, which nobody tells it"
        found.append(("kind", config.kind, message, "set reid: detector, or a ReID model's file; or use bytetrack"))
    if config.kind in TRACKERS and config.kind not in APPEARANCE and config.reid != OFF:
        mend = f"use `off`, or kind: {', '.join(APPEARANCE)}"
        found.append(("reid", config.reid, f"{config.kind} does not compare what objects look like", mend))
    if config.low_confidence >= config.high_confidence:
        message = f"is not below high_confidence, {config.high_confidence:g}"
        found.append(("low_confidence", f"{config.low_confidence:g}", message, "lower it, or raise high_confidence"))
    return found
