"""Points against polygons and lines, in units of the frame's height: x from 0 to width / height, y from 0 to 1.

In those units a distance is the same in every direction, whatever the frame's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled
from tracking.rules.config import ANCHORS

Points = NDArray[np.float64]
"""float64 [N, 2], x and y."""
Point = tuple[float, float]
"""In fractions of the frame's width and height, as in configs."""

# Anchors on the picture's border, where boxes end that are cut off, are taken to be this far within, in heights.
WITHIN = 1e-6


def anchors(boxes: NDArray[np.float32], anchor: str, width: int, height: int) -> Points:
    """Where objects are, within the frame: of boxes [N, 4], xyxy in source-frame pixels."""
    across, down = ANCHORS[anchor]
    return _anchors(boxes, across, down, width, height)


@compiled
def _anchors(boxes: NDArray[np.float32], across: float, down: float, width: int, height: int) -> Points:
    points = np.empty((len(boxes), 2), np.float64)
    for n in range(len(boxes)):
        x = boxes[n, 0] + (boxes[n, 2] - boxes[n, 0]) * across
        y = boxes[n, 1] + (boxes[n, 3] - boxes[n, 1]) * down
        points[n, 0] = min(max(x / height, WITHIN), width / height - WITHIN)
        points[n, 1] = min(max(y / height, WITHIN), 1.0 - WITHIN)
    return points


def in_heights(points: Sequence[Point], width: int, height: int) -> Points:
    """From fractions of the frame to units of its height."""
    return np.array(points, np.float64) * (width / height, 1.0)


def on_border(polygon: Sequence[Point]) -> NDArray[np.bool_]:
    """Which edges of a polygon lie on the frame's border, bool [M]: the one that ends in corner m is the m-th."""
    edges = zip([polygon[-1], *polygon[:-1]], polygon, strict=True)
    return np.array([any(a[n] == b[n] and a[n] in (0.0, 1.0) for n in (0, 1)) for a, b in edges])


@compiled
def depth_at(x: float, y: float, polygon: Points, border: NDArray[np.bool_]) -> float:
    """How far inside the polygon [M, 2] a point is; outside it is negative.

    Inside is where a ray to the right crosses the edges an odd number of times. Edges on the frame's border, beyond
    which nothing can go, are no edges: who stands at the border is as far inside as the others let it.
    """
    inside, nearest = False, np.inf
    bx, by = polygon[-1, 0], polygon[-1, 1]
    for m in range(len(polygon)):
        ax, ay = bx, by
        bx, by = polygon[m, 0], polygon[m, 1]
        ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
        if not border[m]:
            along = min(1.0, max(0.0, (wx * ex + wy * ey) / max(ex * ex + ey * ey, 1e-18)))
            nearest = min(nearest, (wx - along * ex) ** 2 + (wy - along * ey) ** 2)
        if (ay > y) != (by > y) and x < ax + wy * ex / ey:
            inside = not inside
    return float(np.sqrt(nearest) if inside else -np.sqrt(nearest))


@compiled
def right_of(x: float, y: float, line: Points) -> float:
    """How far to the right of the line's first to second point, endlessly prolonged, a point is."""
    ex, ey = line[1, 0] - line[0, 0], line[1, 1] - line[0, 1]
    return float((ex * (y - line[0, 1]) - ey * (x - line[0, 0])) / np.hypot(ex, ey))


@compiled
def meets(ax: float, ay: float, bx: float, by: float, line: Points) -> bool:
    """Whether the way from a point on one side of the line to one on the other goes through the line itself."""
    one, other = right_of(ax, ay, line), right_of(bx, by, line)
    part = one / (one - other)
    ex, ey = line[1, 0] - line[0, 0], line[1, 1] - line[0, 1]
    along = (ax + (bx - ax) * part - line[0, 0]) * ex + (ay + (by - ay) * part - line[0, 1]) * ey
    return bool(0.0 <= along <= ex * ex + ey * ey)
