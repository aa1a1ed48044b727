"""The letterbox is Ultralytics', and its inverse brings boxes back to where they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference.input import InputSpec
from inference.letterbox import PAD_VALUE, Letterbox

sides = st.integers(2, 5000)
image_sizes = st.integers(2, 40).map(lambda n: 32 * n)


@given(sides, sides, image_sizes, st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5))
def test_boxes_come_back_to_where_they_were(
    width: int, height: int, image_size: int, fractions: list[tuple[float, float, float, float]]
) -> None:
    box = Letterbox.fit(width, height, image_size)
    source = np.array(fractions, np.float32).reshape(-1, 4) * np.array([width, height] * 2, np.float32)
    drawn = source * np.array([box.size[0] / width, box.size[1] / height] * 2) + np.array([box.left, box.top] * 2)
    back = box.to_source(drawn.astype(np.float32))
    assert back.dtype == np.float32
    assert back.shape == source.shape
    assert np.abs(back - source).max(initial=0) <= 1


@pytest.mark.parametrize(("width", "height"), [(2704, 1520), (3000, 1700), (1281, 721), (1920, 1080), (5000, 301)])
def test_the_resized_pictures_middle_is_the_frames_middle(width: int, height: int) -> None:
    """The resized picture is whole pixels wide and high, so each axis has a gain of its own."""
    box = Letterbox.fit(width, height, 640)
    middle = [box.left + box.size[0] / 2, box.top + box.size[1] / 2]
    back = box.to_source(np.array([[box.left, box.top, *middle]], np.float32))
    assert back[0].tolist() == pytest.approx([0, 0, width / 2, height / 2], abs=0.01)


@given(sides, sides, image_sizes)
def test_the_picture_fills_its_longer_side_and_lies_inside(width: int, height: int, image_size: int) -> None:
    box = Letterbox.fit(width, height, image_size)
    assert max(box.size) == max(box.width, box.height) == image_size
    assert box.left >= 0
    assert box.top >= 0
    assert box.left + box.size[0] <= box.width
    assert box.top + box.size[1] <= box.height
    assert box.width - box.size[0] < 32
    assert box.height - box.size[1] < 32


@given(sides, sides, image_sizes, st.sampled_from([8, 16, 32]))
def test_input_sides_are_multiples_of_the_stride(width: int, height: int, image_size: int, stride: int) -> None:
    box = Letterbox.fit(width, height, image_size, InputSpec(stride=stride))
    assert box.width % stride == box.height % stride == 0


def test_an_image_size_between_two_strides_still_gives_multiples_of_the_stride() -> None:
    """`image_size` is any multiple of 32; the larger (P6) models have a stride of 64."""
    box = Letterbox.fit(1920, 1080, 672, InputSpec(stride=64))
    assert box.width % 64 == box.height % 64 == 0


@pytest.mark.parametrize(
    ("width", "height", "image_size"),
    [
        (1920, 1080, 640), (1280, 720, 640), (640, 480, 640), (641, 359, 640), (1281, 721, 416), (480, 640, 640),
        (1080, 1920, 640), (100, 37, 640), (37, 101, 640), (640, 640, 640), (640, 384, 640), (333, 333, 320),
        (2, 3, 64), (810, 1080, 640),
    ],
)  # fmt: skip
def test_geometry_and_pixels_are_those_of_ultralytics(width: int, height: int, image_size: int) -> None:
    from ultralytics.data.augment import LetterBox

    picture = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    theirs = LetterBox(new_shape=(image_size, image_size), auto=True, stride=32)(image=picture)
    box = Letterbox.fit(width, height, image_size)
    ours = np.full((box.height, box.width, 3), 77, np.uint8)
    box.apply(picture, ours)
    assert ours.shape == theirs.shape
    assert np.array_equal(ours, theirs)


CAMERAS = [(1920, 1080), (1280, 720), (3840, 2160), (2688, 1520), (2560, 1440), (2592, 1944), (1280, 960), (768, 432),
           (704, 576), (640, 480), (640, 360), (352, 288), (1080, 1920)]  # fmt: skip
Boxes = list[tuple[float, float, float, float]]
boxes_in_input = st.lists(st.tuples(*[st.floats(-50, 700)] * 4), max_size=4)


def ultralytics_difference(box: Letterbox, boxes: Boxes) -> float:
    import torch
    from ultralytics.utils.ops import scale_boxes

    rows = np.array(boxes, np.float32).reshape(-1, 4)
    theirs = scale_boxes((box.height, box.width), torch.from_numpy(rows.copy()), box.source[::-1]).numpy()
    return float(np.abs(box.to_source(rows) - theirs).max(initial=0))


@given(st.sampled_from(CAMERAS), boxes_in_input)
def test_boxes_come_back_as_ultralytics_brings_them_back(camera: tuple[int, int], boxes: Boxes) -> None:
    assert ultralytics_difference(Letterbox.fit(*camera, 640), boxes) < 0.01


@given(st.integers(8, 4000), st.integers(8, 4000), boxes_in_input)
def test_boxes_come_back_within_an_input_pixel_of_where_ultralytics_puts_them(
    width: int, height: int, boxes: Boxes
) -> None:
    """Where rounding leaves the two axes different gains, Ultralytics takes the padding for a pixel more than it is;
    in very narrow pictures for more than one."""
    assume(max(width, height) <= 2 * min(width, height))
    assert ultralytics_difference(Letterbox.fit(width, height, 640), boxes) < 1.01 * max(width, height) / 640


def test_what_a_slot_held_before_does_not_show() -> None:
    box = Letterbox.fit(100, 40, 64)
    out = np.full((box.height, box.width, 3), 255, np.uint8)
    box.apply(np.zeros((40, 100, 3), np.uint8), out)
    assert set(np.unique(out)) == {0, PAD_VALUE}


def test_boxes_are_cut_at_the_frames_edge() -> None:
    box = Letterbox.fit(1920, 1080, 640)
    assert box.to_source(np.array([[-50, -50, 9000, 9000]], np.float32)).tolist() == [[0, 0, 1920, 1080]]


def test_no_boxes_stay_no_boxes() -> None:
    assert Letterbox.fit(1920, 1080, 640).to_source(np.zeros((0, 4), np.float32)).shape == (0, 4)
