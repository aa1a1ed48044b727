"""What viewers see drawn is where it was seen, at the size at which they see it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from publish.media.jpeg import COLOURS
from publish.preview.annotate import FORGOTTEN_AFTER, TRACE, Annotator, Rules
from tests.publish.preview.seen import Box, frame, result
from tracking.rules.config import LineConfig, ZoneConfig

SIZE = (320, 180)
SQUARE = ZoneConfig(polygon=[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)])


def drawn(rules: Rules, *boxes: Box, size: tuple[int, int] = SIZE, source: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """Where something was drawn."""
    picture = np.full((size[1], size[0], 3), 7, np.uint8)
    Annotator(rules).annotate(picture, result(frame(0, source), *boxes))
    changed: NDArray[np.bool_] = (picture != 7).any(axis=2)
    return changed


def test_a_box_is_drawn_at_its_place_in_the_smaller_picture() -> None:
    at = drawn(Rules(), (1000, 400, 1400, 900), size=(480, 270), source=(1920, 1080))
    rows, columns = np.flatnonzero(at.any(axis=1)), np.flatnonzero(at.any(axis=0))
    assert abs(columns[0] - 250) <= 2 and abs(columns[-1] - 350) <= 2 and abs(rows[-1] - 225) <= 2
    assert 75 <= rows[0] <= 100  # the label is above it
    assert not at[110:215, 260:340].any()  # nothing within


def test_each_track_has_its_colour_and_its_number() -> None:
    picture = np.full((180, 320, 3), 7, np.uint8)
    Annotator(Rules()).annotate(picture, result(frame(0), (20, 60, 80, 160), (150, 60, 210, 160)))
    assert tuple(picture[159, 50]) == COLOURS[1] and tuple(picture[159, 180]) == COLOURS[2]


def test_zones_and_lines_are_drawn_though_nothing_is_seen() -> None:
    at = drawn(Rules({"yard": SQUARE}, {"door": LineConfig(start=(0.1, 0.9), end=(0.9, 0.9))}))
    assert at[90, 80] and at[90, 240] and at[45, 160] and at[135, 160]  # the zone's sides
    assert at[162, 32:288].all()  # the line
    picture = np.full((180, 320, 3), 7, np.uint8)
    Annotator(Rules({"yard": SQUARE})).annotate(picture, None)
    assert (picture != 7).any()


def test_a_trace_shows_where_a_track_came_from_and_goes_when_the_track_is_gone() -> None:
    annotator = Annotator(Rules())
    picture = np.zeros((180, 320, 3), np.uint8)
    for n in range(5):
        picture = np.zeros((180, 320, 3), np.uint8)
        annotator.annotate(picture, result(frame(n), (20 + 40 * n, 60, 40 + 40 * n, 100)))
    assert picture[100, 35:175].any(axis=1).all()  # from the middle of the first box's foot to the last's
    for n in range(FORGOTTEN_AFTER + 1):
        annotator.annotate(picture, result(frame(5 + n)))
    assert not annotator._traces


def test_what_is_remembered_of_tracks_is_bounded() -> None:
    annotator, picture = Annotator(Rules()), np.zeros((180, 320, 3), np.uint8)
    for n in range(3 * TRACE):
        annotator.annotate(picture, result(frame(n), (20, 60, 40, 100)))
    assert [len(trace.points) for trace in annotator._traces.values()] == [TRACE]


def test_whatever_a_box_and_a_name_are_like_the_picture_is_drawn() -> None:
    picture = np.zeros((18, 32, 3), np.uint8)
    seen = result(frame(0), (-1e6, -50, 1e6, 1e6), (5, 5, 5, 5), (3000, 3000, 3100, 3200), name="x" * 300)
    Annotator(Rules({"☃" * 64: SQUARE})).annotate(picture, seen)
