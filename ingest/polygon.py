"""A polygon as users write it: corners in parts of the picture's width and height."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field
from shapely import LineString, union_all
from shapely import Polygon as Shape
from shapely.validation import explain_validity

Part = Annotated[float, Field(ge=0, le=1)]
Corner = tuple[Part, Part]


def _is_simple(corners: list[Corner]) -> list[Corner]:
    shape = Shape(corners)
    if shape.convex_hull.area == 0:
        raise ValueError("the polygon has no area: its corners lie on one line")
    if not shape.is_valid:
        reason = explain_validity(shape).replace("[", " near [").lower()
        raise ValueError(f"the polygon's edges cross or touch ({reason}); list its corners in order, one way round")
    return corners


Polygon = Annotated[
    list[Corner],
    Field(
        min_length=3,
        max_length=100,
        description="Corners x, y in order, one way round, in parts of the picture's width and height: from 0, left or "
        "top, to 1. The last is joined to the first.",
    ),
    AfterValidator(_is_simple),
]


def covers(masks: Sequence[Sequence[Corner]], shape: Sequence[Corner]) -> bool:
    """Whether all of a polygon, or of a line of two points, lies under the masks, which are polygons."""
    inner = Shape(shape) if len(shape) > 2 else LineString(shape)
    return bool(union_all([Shape(mask) for mask in masks]).covers(inner))


def cover_all(masks: Sequence[Sequence[Corner]]) -> bool:
    """Whether polygons leave nothing of the picture to see."""
    return covers(masks, [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
