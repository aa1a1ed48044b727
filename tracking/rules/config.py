"""What a user may set about zones and lines."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.polygon import Corner, Polygon
from tracking.rules.geometry import ANCHORS

Anchor = Literal["bottom_center", "center", "top_center", "bottom_left", "bottom_right"]
assert set(Anchor.__args__) == set(ANCHORS)  # type: ignore[attr-defined]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    classes: tuple[str, ...] | None = Field(None, description="Only objects of these classes; default: all.")
    anchor: Anchor = Field("bottom_center", description="Which point of its box says where an object is.")
    hold: float = Field(
        0.2, ge=0, le=60, description="Seconds for which it must stay on the other side before it counts."
    )
    margin: float = Field(
        0.01, ge=0, le=0.5, description="How far beyond the edge, in picture heights, it must be for that."
    )


class ZoneConfig(_Rule):
    """An area of the picture."""

    polygon: Polygon
    dwell: float | None = Field(None, gt=0, description="Seconds after which a stay makes a `zone.dwell` event.")
    crowd: int | None = Field(None, ge=1, description="So many objects at once make a `zone.crowded` event.")


class LineConfig(_Rule):
    """A line across the picture; an object that crosses it goes to its left or its right, seen along the line."""

    start: Corner = Field(alias="from", description="One end, as fractions of the picture's width and height.")
    end: Corner = Field(alias="to", description="The other end.")

    @model_validator(mode="after")
    def _can_be_crossed(self) -> LineConfig:
        if self.start == self.end:
            raise ValueError("both ends are the same point")
        for axis in (0, 1):
            if self.start[axis] == self.end[axis] and self.start[axis] in (0.0, 1.0):
                raise ValueError("lies on the picture's edge, where nothing can cross it; move it inwards")
        return self
