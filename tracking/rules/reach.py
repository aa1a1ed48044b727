"""Whether anything can ever enter a zone or cross a line, whatever the shape of the picture."""

from __future__ import annotations

import math

from shapely import Polygon, box, union_all

from tracking.rules.config import LineConfig, ZoneConfig

# Width over height of a corridor camera, of most cameras and of panoramas. What can be done in one of them is allowed.
ASPECTS = (9 / 16, 4 / 3, 16 / 9, 32 / 9)


def can_be_entered(zone: ZoneConfig) -> bool:
    """Whether some point is within the zone by its margin. Edges on the picture's border need no margin."""
    return any(_has_room(zone, aspect) for aspect in ASPECTS)


def can_be_crossed(line: LineConfig) -> bool:
    """Whether the picture reaches beyond the margin on both sides of the line."""
    return any(_has_sides(line, aspect) for aspect in ASPECTS)


def _has_room(zone: ZoneConfig, aspect: float) -> bool:
    corners = [(x * aspect, y) for x, y in zone.polygon]
    far = 2 * zone.margin
    parts = [Polygon(corners)]
    for (ax, ay), (bx, by) in zip([corners[-1], *corners[:-1]], corners, strict=True):  # edges on the border move out
        (left, right), (top, bottom) = sorted((ax, bx)), sorted((ay, by))
        if (ax == bx and ax in (0, aspect)) or (ay == by and ay in (0, 1)):
            parts.append(box(left - far, top - far, right + far, bottom + far))
    room = union_all(parts).buffer(-zone.margin)
    return bool(room.intersection(box(0, 0, aspect, 1)).intersection(Polygon(corners)).area > 0)


def _has_sides(line: LineConfig, aspect: float) -> bool:
    (ax, ay), (bx, by) = ((x * aspect, y) for x, y in (line.start, line.end))
    length = math.hypot(bx - ax, by - ay)
    corners = ((0.0, 0.0), (aspect, 0.0), (aspect, 1.0), (0.0, 1.0))
    sides = [((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length for x, y in corners]
    return max(sides) > line.margin and min(sides) < -line.margin
