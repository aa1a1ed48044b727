"""The way of a track, in few points that follow it well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from shapely import LineString, get_coordinates, simplify

from ingest.compiled import compiled

# A point is kept when it is this far from the one before, in picture heights: boxes tremble by less.
STEP = 0.01
# A path that has as many points is thinned to half of them.
MOST_KEPT = 128
# By how much a thinned path may be beside the real one at first, in picture heights.
LEAST_TOLERANCE = 0.005

Path = NDArray[np.float64]
"""float64 [N, 3]: seconds of media time, and x and y as fractions of the frame's width and height."""


@compiled
def add_point(path: Path, points: int, at_s: float, x: float, y: float, aspect: float) -> bool:
    """Writes a point as the next one, if it is a step away; the caller counts."""
    if points > 0:
        away = np.hypot((x - path[points - 1, 1]) * aspect, y - path[points - 1, 2])
        if away < STEP:
            return False
    path[points, 0], path[points, 1], path[points, 2] = at_s, x, y
    return True


def thinned(path: Path, most: int, aspect: float) -> Path:
    """At most so many of the path's points, by Douglas and Peucker: its first and last, and those where it turns."""
    kept, tolerance = path, LEAST_TOLERANCE
    while len(kept) > 2 and (kept is path or len(kept) > most):
        line = LineString(np.column_stack([path[:, 1] * aspect, path[:, 2], path[:, 0]]))
        x, y, at_s = get_coordinates(simplify(line, tolerance, preserve_topology=False), include_z=True).T
        kept = np.column_stack([at_s, x / aspect, y])
        tolerance *= 1.5
    return kept
