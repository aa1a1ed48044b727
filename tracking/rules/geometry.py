"""Points against polygons and lines, in units of the frame's height: x from 0 to width / height, y from 0 to 1.

In those units a distance is the same in every direction, whatever the frame's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.compiled import compiled

Points = NDArray[np.float64]
"""float64 [N, 2], x and y."""
Point = tuple[float, float]
"""In fractions of the frame's width and height, as in configs."""

# Which point of a box stands for the object: fractions of its width and height.
ANCHORS = {
    "bottom_center": (0.5, 1.0),
    "center": (0.5, 0.5),
    "top_center": (0.5, 0.0),
    "bottom_left": (0.0, 1.0),
    "bottom_right": (1.0, 1.0),
}


def anchors(boxes: NDArray[np.float32], anchor: str, height: int) -> Points:
    """Where objects are: of boxes [N, 4], xyxy in source-frame pixels."""
    across, down = ANCHORS[anchor]
    x = boxes[:, 0] + (boxes[:, 2] - boxes[:, 0]) * across
    y = boxes[:, 1] + (boxes[:, 3] - boxes[:, 1]) * down
    return np.column_stack([x, y]).astype(np.float64) / height


def in_heights(points: Sequence[Point], width: int, height: int) -> Points:
    """From fractions of the frame to units of its height."""
    return np.array(points, np.float64) * (width / height, 1.0)


@compiled
def depth(points: Points, polygon: Points) -> NDArray[np.float64]:
    """How far inside the polygon [M, 2] each point is; outside it is negative. float64 [N].

    Inside is where a ray to the right crosses the edges an odd number of times.
    """
    found = np.empty(len(points), np.float64)
    for n in range(len(points)):
        x, y = points[n, 0], points[n, 1]
        inside, nearest = False, np.inf
        bx, by = polygon[-1, 0], polygon[-1, 1]
        for m in range(len(polygon)):
            ax, ay = bx, by
            bx, by = polygon[m, 0], polygon[m, 1]
            ex, ey, wx, wy = bx - ax, by - ay, x - ax, y - ay
            along = min(1.0, max(0.0, (wx * ex + wy * ey) / max(ex * ex + ey * ey, 1e-18)))
            nearest = min(nearest, (wx - along * ex) ** 2 + (wy - along * ey) ** 2)
            if (ay > y) != (by > y) and x < ax + wy * ex / ey:
                inside = not inside
        found[n] = np.sqrt(nearest) if inside else -np.sqrt(nearest)
    return found


def right_of(points: Points, line: Points) -> NDArray[np.float64]:
    """How far to the right of the line's first to second point, endlessly prolonged, each point is. float64 [N]."""
    along = line[1] - line[0]
    away = points - line[0]
    distance: NDArray[np.float64] = (along[0] * away[:, 1] - along[1] * away[:, 0]) / np.hypot(*along)
    return distance


def meets(start: Points, end: Points, line: Points) -> bool:
    """Whether the way from a point [2] on one side of the line to one on the other goes through the line itself."""
    one, other = right_of(np.stack([start, end]), line)
    through = start + (end - start) * (one / (one - other))
    along = line[1] - line[0]
    return bool(0.0 <= (through - line[0]) @ along <= along @ along)


def warm_up() -> None:
    """Compiles what is here, or loads it."""
    depth(np.zeros((1, 2)), np.eye(3)[:, :2].copy())
