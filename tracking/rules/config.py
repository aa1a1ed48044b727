"""What a user may set about zones and lines."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tracking.rules.geometry import ANCHORS

Fraction = Annotated[float, Field(ge=0, le=1)]
Place = tuple[Fraction, Fraction]
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

    polygon: tuple[Place, ...] = Field(
        description="Its corners as fractions of the picture's width and height, from the top left.", min_length=3
    )
    dwell: float | None = Field(None, gt=0, description="Seconds after which a stay makes a `zone.dwell` event.")
    crowd: int | None = Field(None, ge=1, description="So many objects at once make a `zone.crowded` event.")

    @field_validator("polygon")
    @classmethod
    def _has_an_area(cls, polygon: tuple[Place, ...]) -> tuple[Place, ...]:
        x, y = np.array(polygon).T
        if abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 < 1e-6:
            raise ValueError("has no area: give its corners in order, one way round")
        return polygon


class LineConfig(_Rule):
    """A line across the picture; an object that crosses it goes to its left or its right, seen along the line."""

    start: Place = Field(alias="from", description="One end, as fractions of the picture's width and height.")
    end: Place = Field(alias="to", description="The other end.")

    @model_validator(mode="after")
    def _can_be_crossed(self) -> LineConfig:
        if self.start == self.end:
            raise ValueError("both ends are the same point")
        for axis in (0, 1):
            if self.start[axis] == self.end[axis] and self.start[axis] in (0.0, 1.0):
                raise ValueError("lies on the picture's edge, where nothing can cross it; move it inwards")
        return self
