"""Converting only the pixels that are kept gives, bit for bit, the picture that converting all of them gives."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from ultralytics.utils import ASSETS

from ingest.shrink import BT601, CHROMA, Shrinker

Picture = NDArray[np.uint8]
UNTAGGED, RESERVED = 2, 3
PHOTO = cv2.imread(str(ASSETS / "bus.jpg"))


def photo(width: int, height: int, pixel_format: str = "yuv420p") -> av.VideoFrame:
    picture = cv2.resize(PHOTO, (width, height), interpolation=cv2.INTER_AREA)
    return av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pixel_format)


def noise(width: int, height: int, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """Every combination of values that a decoder may give, allowed ones or not."""
    planes = np.random.default_rng(0).integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
    return av.VideoFrame.from_ndarray(planes, format=pixel_format)


def shrunk(image: av.VideoFrame, width: int, height: int) -> Picture:
    slot = np.full((height + 24, width + 16, 3), 7, np.uint8)
    out = slot[12 : 12 + height, 8 : 8 + width]
    Shrinker().shrink(image, slot, (8, 12, width, height))
    assert (np.delete(slot, np.s_[12 : 12 + height], axis=0) == 7).all()
    return out.copy()


def reference(image: av.VideoFrame, width: int, height: int) -> Picture:
    whole = image.to_ndarray(format="bgr24")
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12", "yuv422p", "yuvj444p", "yuv420p10le", "gray"])
@pytest.mark.parametrize(
    "source", [(1920, 1080), (3200, 1800), (1280, 720), (2560, 1440), (3840, 2160), (640, 360), (768, 432), (705, 577),
               (320, 180)],
    ids=lambda size: "x".join(map(str, size)),
)  # fmt: skip
def test_every_format_and_size_is_as_if_converted_first(source: tuple[int, int], pixel_format: str) -> None:
    image = photo(*source, pixel_format)
    assert np.array_equal(shrunk(image, 640, 360), reference(image, 640, 360))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("levels", [0, 1, 2], ids=["untagged", "video range", "full range"])
@pytest.mark.parametrize("space", [*CHROMA, UNTAGGED])
def test_colours_are_converted_by_the_frames_own_tags(space: int, levels: int, pixel_format: str) -> None:
    for times in (1, 2, 3, 4, 5):
        image = noise(128 * times, 72 * times, pixel_format)
        image.colorspace, image.color_range = space, levels
        assert np.array_equal(shrunk(image, 128, 72), reference(image, 128, 72))


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720)])
def test_a_colour_space_that_does_not_exist_is_read_as_the_usual_one(size: tuple[int, int]) -> None:
    image = photo(*size)
    expected = shrunk(image, 640, 360)
    image.colorspace = RESERVED
    assert np.array_equal(shrunk(image, 640, 360), expected)
    image.colorspace = BT601
    assert np.array_equal(shrunk(image, 640, 360), expected)


def test_an_odd_width_is_no_trouble() -> None:
    image = photo(639, 363)
    assert np.array_equal(shrunk(image, 213, 121), reference(image, 213, 121))
