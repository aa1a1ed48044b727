"""What a user may set about zones, lines and the ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.polygon import Corner, Polygon

Anchor = Literal["bottom_center", "center", "top_center", "bottom_left", "bottom_right"]
# Which point of a box stands for the object: fractions of its width and height.
ANCHORS = {
    "bottom_center": (0.5, 1.0),
    "center": (0.5, 0.5),
    "top_center": (0.5, 0.0),
    "bottom_left": (0.0, 1.0),
    "bottom_right": (1.0, 1.0),
}
assert set(Anchor.__args__) == set(ANCHORS)  # type: ignore[attr-defined]


Window = Annotated[float, Field(ge=1, le=86400)]
Metres = Annotated[float, Field(ge=-1e7, le=1e7)]
Spot = tuple[Metres, Metres]
# A triangle that is flatter than this, its area against its longest side squared, is a line with errors.
FLAT = 1e-3


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
    windows: tuple[Window, ...] = Field(
        (), max_length=4, description="Seconds: how many entered or crossed within the last so many, as metrics."
    )
    every: float | None = Field(
        None, ge=1, le=86400, description="Seconds after which to tell again how many entered or crossed since."
    )


class ZoneConfig(_Rule):
    """An area of the picture."""

    polygon: Polygon
    dwell: float | None = Field(None, gt=0, description="Seconds after which a stay makes a `zone.dwell` event.")
    crowd: int | None = Field(None, ge=1, description="So many objects at once make a `zone.crowded` event.")
    stopped: float | None = Field(
        None, gt=0, description="Seconds without moving after which `zone.stopped` is told, and `zone.moved` after it."
    )
    loiter: float | None = Field(
        None, gt=0, description="Seconds of a stay, not all in one place, after which `zone.loitering` is told."
    )
    abandoned: float | None = Field(
        None, gt=0, description="Seconds for which it does not move and none of `owners` stays near: `zone.abandoned`."
    )
    owners: tuple[str, ...] = Field(("person",), min_length=1, description="Classes of those who may own objects.")
    owner_within: float = Field(1.5, gt=0, le=20, description="How near an owner is, in heights of the owner's box.")
    still_within: float = Field(
        0.25, gt=0, le=5, description="Who stays within so much of its own size, the root of its box's area, is still."
    )
    speed_over: float | None = Field(
        None, gt=0, description="Faster than this is `zone.speeding`: m/s with `ground`, else picture heights a second."
    )

    @model_validator(mode="after")
    def _what_can_be_abandoned(self) -> ZoneConfig:
        if self.abandoned is not None:
            if self.classes is None:
                raise ValueError("`abandoned` wants `classes`: what may be abandoned, as [backpack, suitcase]")
            if both := sorted(set(self.classes) & set(self.owners)):
                raise ValueError(
                    f"{', '.join(both)}: in `classes` and in `owners`; with `abandoned` only in one of them"
                )
        return self


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


class GroundConfig(BaseModel):
    """Four points of the ground, which say how large it is where."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    picture: tuple[Corner, Corner, Corner, Corner] = Field(
        description="Where they are in the picture: x, y as fractions of its width and height."
    )
    metres: tuple[Spot, Spot, Spot, Spot] = Field(
        description="The same four, in the same order, on the ground: x, y in metres from wherever you like."
    )

    @model_validator(mode="after")
    def _is_a_plane(self) -> GroundConfig:
        for name, points in (("picture", self.picture), ("metres", self.metres)):
            if any(abs(area) < FLAT for area in _triangles(points)):
                raise ValueError(f"three of the four points of `{name}` lie on one line; choose the corners of an area")
        turns = [a * b > 0 for a, b in zip(_triangles(self.picture), _triangles(self.metres), strict=True)]
        if len(set(turns)) > 1:
            raise ValueError("no camera sees these four so; list both in the same order, one way round")
        return self


def _triangles(points: Sequence[Spot]) -> list[float]:
    """Of each three of the points, in order: the signed area of twice their triangle over its longest side squared."""
    found = []
    for left_out in range(4):
        a, b, c = (points[(left_out + n) % 4] for n in (1, 2, 3))
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        longest = max((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 for p, q in ((a, b), (b, c), (c, a)))
        found.append(area / longest if longest else 0.0)
    return found
