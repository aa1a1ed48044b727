"""What was told of a recording twice: which events are the same, and which only one of the two has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# The same event may be told so much sooner or later.
WITHIN_S = 0.5


class Happened(NamedTuple):
    """An event: its type, zone or line, direction, box (xyxy, source-frame pixels), and when it was told, seconds."""

    kind: str
    place: str | None
    direction: str | None
    box: tuple[float, float, float, float]
    at_s: float


def unmatched(expected: Sequence[Happened], found: Sequence[Happened]) -> tuple[list[int], list[int]]:
    """Which of the expected events are not among those found, and which are found beyond them.

    The same are two of one kind, place and direction, told within `WITHIN_S` of each other, of boxes that are no
    further apart than their size; the nearest in time first.
    """
    pairs = sorted(
        (abs(one.at_s - other.at_s), i, j)
        for i, one in enumerate(expected)
        for j, other in enumerate(found)
        if one[:3] == other[:3] and abs(one.at_s - other.at_s) <= WITHIN_S + 1e-6 and _near(one, other)
    )
    left, free = set(range(len(expected))), set(range(len(found)))
    for _, i, j in pairs:
        if i in left and j in free:
            left.discard(i)
            free.discard(j)
    return sorted(left), sorted(free)


def _near(a: Happened, b: Happened) -> bool:
    across = abs(a.box[0] + a.box[2] - b.box[0] - b.box[2]) / 2
    down = abs(a.box[1] + a.box[3] - b.box[1] - b.box[3]) / 2
    return max(across, down) <= max(a.box[2] - a.box[0], a.box[3] - a.box[1])
