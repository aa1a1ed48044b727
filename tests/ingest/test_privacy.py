"""Nothing behind a privacy mask is in any picture that is made of a frame."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inference.letterbox import Letterbox
from ingest.clock import Clock
from ingest.config import SourceConfig
from ingest.frame import Frame
from ingest.polygon import cover_all
from ingest.privacy import COLOR_PX, DRAWN_PX, FILL_VALUE, MOST_SIZES, PrivacyMasks
from ingest.shrink import Shrinker
from ingest.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
Picture = NDArray[np.uint8]
Corners = list[tuple[float, float]]
LEFT_HALF: Corners = [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]
# Whole multiples (odd and even), what is converted whole and resized, at its own size, odd sizes, stretched, portrait.
SIZES = [(96, 48), (64, 32), (128, 64), (32, 16), (50, 35), (33, 19), (31, 31), (20, 45)]
FORMATS = ["yuv420p", "nv12", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "gray", "bgr24"]


def frame_of(image: av.VideoFrame, masks: PrivacyMasks | None) -> Frame:
    return Frame("gate", 1, 0, 0, 0, 0, Clock.ARRIVAL, None, image, masks)


def slot_of(frame: Frame, image_size: int = 32) -> tuple[Picture, Letterbox]:
    """The model's input as a reader makes it."""
    letterbox = Letterbox.fit(frame.width, frame.height, image_size)
    slot = np.zeros((letterbox.height, letterbox.width, 3), np.uint8)
    letterbox.pad(slot)
    frame.shrink(Shrinker(), slot, letterbox.place)
    return slot, letterbox


def touched(polygons: list[Corners], width: int, height: int) -> NDArray[np.bool_]:
    """The pixels of which a polygon covers any part, by geometry."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    shape = shapely.union_all([shapely.Polygon(polygon) for polygon in polygons])
    shapely.prepare(shape)
    edge = 1e-9  # neighbours that share an edge with it are none
    covered: NDArray[np.bool_] = shapely.intersects(
        shape, shapely.box((x + edge) / width, (y + edge) / height, (x + 1 - edge) / width, (y + 1 - edge) / height)
    )
    return covered


def planes_of(image: av.VideoFrame) -> list[Picture]:
    """The frame's memory, to look at and, in these tests only, to write to."""
    return [
        np.frombuffer(memoryview(plane), np.uint8)[: plane.height * plane.line_size].reshape(plane.height, -1)
        for plane in image.planes
    ]


def noise(width: int, height: int, layout: str, secret: NDArray[np.bool_] | None = None) -> av.VideoFrame:
    """Random samples, and others where `secret` is true and in every sample of colour that has a part in it."""
    image = av.VideoFrame(width, height, layout)
    one, other = np.random.default_rng(1), np.random.default_rng(2)
    for plane in planes_of(image):
        shape = plane.shape
        plane[:] = one.integers(0, 256, shape, dtype=np.uint8)
        fresh = other.integers(0, 256, shape, dtype=np.uint8)
        if secret is not None:
            rows, sample_bytes = shape[0], _sample_bytes(layout, height != shape[0])
            down = 2 if rows == (height + 1) // 2 and rows != height else 1
            across = 2 if layout in ("nv12", "yuv420p", "yuvj420p", "yuv422p", "yuv420p10le") and (
                plane.ctypes.data != planes_of(image)[0].ctypes.data) else 1  # fmt: skip
            padded = np.pad(secret, ((0, -height % down), (0, -width % across)))
            hit = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across).any((1, 3))
            hit = np.repeat(hit, sample_bytes, axis=1)
            part = plane[: hit.shape[0], : hit.shape[1]]
            part[hit] = fresh[: hit.shape[0], : hit.shape[1]][hit]
        if layout == "yuv420p10le":
            plane[:, 1::2] &= 3
    return image


def _sample_bytes(layout: str, is_shared: bool) -> int:
    """Bytes of what one place of a plane holds: U and V together in NV12, 16 bits of deep video, three of BGR."""
    return {"bgr24": 3, "yuv420p10le": 2, "nv12": 2 if is_shared else 1}.get(layout, 1)


@st.composite
def polygons(draw: st.DrawFn) -> Corners:
    """Simple ones of any shape: corners around a middle, in order, some on the picture's edge."""
    corners = draw(st.integers(3, 8))
    middle = [draw(st.floats(0.05, 0.95)) for _ in "xy"]
    start = draw(st.floats(0, 6.28))
    reach = [draw(st.floats(0.003, 1.2)) for _ in range(corners)]
    turns = [start + 2 * np.pi * n / corners for n in range(corners)]
    at = [
        tuple(float(np.clip(m + far * f(turn), 0, 1)) for m, f in zip(middle, (np.cos, np.sin), strict=True))
        for far, turn in zip(reach, turns, strict=True)
    ]
    shape = shapely.Polygon(at)
    return [(x, y) for x, y in (shape if shape.is_valid and shape.area > 0 else shape.convex_hull).exterior.coords[:-1]]


many = st.lists(polygons().filter(lambda corners: len(corners) >= 3), min_size=1, max_size=3)


@given(many, st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=40)
def test_every_pixel_that_a_polygon_touches_is_hidden(masks: list[Corners], width: int, height: int) -> None:
    hidden = PrivacyMasks(masks).hidden(width, height)
    assert not (touched(masks, width, height) & ~hidden).any()


@given(many)
@settings(max_examples=40)
def test_only_a_margin_of_pixels_around_is_hidden_too(masks: list[Corners]) -> None:
    hidden = PrivacyMasks(masks).hidden(50, 35)
    near = shapely.union_all([shapely.Polygon(polygon) for polygon in masks])
    far = shapely.affinity.scale(near, 50, 35, origin=(0, 0)).buffer(
        (DRAWN_PX + COLOR_PX + 2.5) * 2**0.5, join_style="mitre"
    )
    x, y = np.meshgrid(np.arange(50), np.arange(35))
    assert not (hidden & ~shapely.intersects(far, shapely.box(x, y, x + 1, y + 1))).any()


@given(many, st.integers(2, 50), st.integers(2, 50), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=40)
def test_a_resized_pixel_is_hidden_if_a_hidden_one_had_any_part_in_it(
    masks: list[Corners], width: int, height: int, smaller: int, lower: int
) -> None:
    privacy = PrivacyMasks(masks)
    mixed = cv2.resize(privacy.hidden(width, height).astype(np.float32), (smaller, lower))
    assert not ((mixed > 0) & ~privacy.hidden_in((width, height), (smaller, lower))).any()


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@settings(max_examples=8)
@given(masks=many)
def test_what_is_behind_a_mask_has_no_part_in_any_picture(
    size: tuple[int, int], layout: str, masks: list[Corners]
) -> None:
    """Two frames that differ only behind the masks give the same slot and the same converted picture."""
    secret = touched(masks, *size)
    pictures = []
    for image in (noise(*size, layout), noise(*size, layout, secret)):
        frame = frame_of(image, PrivacyMasks(masks))
        pictures.append((slot_of(frame)[0], frame.bgr()))
    (slot, bgr), (other_slot, other_bgr) = pictures
    np.testing.assert_array_equal(slot, other_slot)
    np.testing.assert_array_equal(bgr, other_bgr)
    assert (bgr[secret] == FILL_VALUE).all()


@pytest.mark.parametrize("layout", FORMATS)
def test_without_the_mask_these_frames_would_differ(layout: str) -> None:
    """The test above sees what it is to see."""
    secret = touched([LEFT_HALF], 96, 48)
    one, other = (frame_of(image, None) for image in (noise(96, 48, layout), noise(96, 48, layout, secret)))
    assert (slot_of(one)[0] != slot_of(other)[0]).any()
    changed = (one.bgr() != other.bgr()).any(axis=2)
    assert changed[secret].mean() > 0.9
    assert not changed[:, 48 + COLOR_PX :].any()


@pytest.mark.parametrize("layout", FORMATS)
def test_what_is_not_hidden_is_as_without_masks(layout: str) -> None:
    masks = PrivacyMasks([LEFT_HALF])
    image = noise(96, 48, layout)
    plain, masked = frame_of(image, None), frame_of(image, masks)
    hidden = masks.hidden(96, 48)
    assert hidden.mean() < 0.55
    np.testing.assert_array_equal(masked.bgr()[~hidden], plain.bgr()[~hidden])
    slot, letterbox = slot_of(masked)
    behind = np.zeros(slot.shape[:2], bool)
    behind[letterbox.top : letterbox.top + 16, : 16 + 2] = True
    np.testing.assert_array_equal(slot[~behind], slot_of(plain)[0][~behind])
    assert (slot[:, :16] == FILL_VALUE).all()


@pytest.mark.parametrize("layout", FORMATS)
def test_the_decoders_picture_is_not_written_to(layout: str) -> None:
    """It may be what the next ones are decoded from."""
    image = noise(96, 48, layout)
    before = [plane.copy() for plane in planes_of(image)]
    frame = frame_of(image, PrivacyMasks([LEFT_HALF]))
    slot_of(frame)
    frame.bgr()
    for plane, unchanged in zip(planes_of(image), before, strict=True):
        np.testing.assert_array_equal(plane, unchanged)


def test_a_converted_picture_is_made_once_and_cannot_be_written_to() -> None:
    frame = frame_of(noise(64, 32, "yuv420p"), PrivacyMasks([LEFT_HALF]))
    assert frame.bgr() is frame.bgr()
    assert not frame.bgr().flags.writeable


def test_pictures_made_in_other_threads_meanwhile_are_masked_each_at_its_own_size() -> None:
    """As the detector's and the viewers' are."""
    masks = PrivacyMasks([LEFT_HALF])
    found = masks._in_slot

    def interrupted(key: Any) -> Any:
        masks._in_slot = found  # type: ignore[method-assign]
        other = np.zeros((10, 20, 3), np.uint8)
        masks.fill_shrunk((640, 320), other, (0, 0, 20, 10))
        return found(key)

    masks._in_slot = interrupted  # type: ignore[method-assign]
    for _ in range(2):
        slot = np.zeros((40, 80, 3), np.uint8)
        masks.fill_shrunk((640, 320), slot, (0, 0, 80, 40))
        assert (slot[:, :40] == FILL_VALUE).all() and not slot[:, 42:].any()
    for width in range(2, 40, 2):
        masks.fill_shrunk((640, 320), np.zeros((10, width, 3), np.uint8), (0, 0, width, 10))
    assert len(masks._shrunk) <= MOST_SIZES


def test_a_change_of_the_cameras_size_moves_the_masks_with_it() -> None:
    masks = PrivacyMasks([LEFT_HALF])
    for size in ((96, 48), (50, 35), (96, 48)):
        frame = frame_of(noise(*size, "yuv420p"), masks)
        assert (frame.bgr()[:, : size[0] // 2] == FILL_VALUE).all()
        slot, _ = slot_of(frame)
        assert (slot[:, : slot.shape[1] // 2] == FILL_VALUE).all()


@pytest.mark.parametrize(
    "polygon",
    [[(0, 0), (0.5, 0), (0.5, 1), (0, 1)], [(0, 0), (1, 0), (1, 0.5), (0, 0.5)], [(0.31, 0), (1, 0.2), (0.8, 1)]],
    ids=["left half", "upper half", "a triangle"],
)
@pytest.mark.parametrize("image_size", [384, 416])
def test_the_hidden_part_of_a_real_video_is_nowhere(data: Path, polygon: Corners, image_size: int) -> None:
    config = SourceConfig(
        url=str(data / "videos/person-bicycle-car-detection.mp4"), privacy_masks={"street": {"polygon": polygon}}
    )
    with open_source(config) as source:
        hidden = None
        for image in itertools.islice(source.frames(), 4):
            frame = frame_of(image, config.masks)
            if hidden is None:
                hidden = touched([polygon], frame.width, frame.height)
            assert (frame.bgr()[hidden] == FILL_VALUE).all()
            assert frame.bgr()[~hidden].std() > 5
            slot, box = slot_of(frame, image_size)
            inner = slot[box.top : box.top + box.size[1], : box.size[0]]
            x, y = np.meshgrid(*((np.arange(count) + 0.5) / count for count in box.size))
            behind = shapely.contains_xy(shapely.Polygon(polygon), x, y)
            assert (inner[behind] == FILL_VALUE).all()
            assert inner[~behind].std() > 5


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@given(masks=many)
@settings(max_examples=10)
def test_a_slot_in_gpu_memory_is_filled_where_one_of_the_hosts_is(size: tuple[int, int], masks: list[Corners]) -> None:
    letterbox = Letterbox.fit(*size, 32)
    slot = np.full((letterbox.height, letterbox.width, 3), 7, np.uint8)
    on_device = torch.from_numpy(slot.copy())
    privacy = PrivacyMasks(masks)
    privacy.fill_shrunk(size, slot, letterbox.place)
    privacy.fill_on_device(size, on_device, letterbox.place)
    np.testing.assert_array_equal(on_device.numpy(), slot)


def test_masks_hide_all_only_when_together_they_do() -> None:
    right_half = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)]
    assert cover_all([LEFT_HALF, right_half])
    assert not cover_all([LEFT_HALF])
    assert not cover_all([LEFT_HALF, [(0.51, 0.0), (1.0, 0.0), (1.0, 1.0), (0.51, 1.0)]])


def test_the_decoders_picture_is_ingests_alone() -> None:
    """Everyone else gets pixels through a frame's methods, which mask them."""
    reached = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for folder in ("inference", "tracking", "publish", "vigil")
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("_native", "_planes"))
        or (isinstance(node, ast.Constant) and node.value in ("_native", "_planes"))
    ]
    assert reached == []


def test_a_frame_tells_nothing_of_its_picture_when_printed() -> None:
    told: Any = repr(frame_of(noise(64, 32, "yuv420p"), PrivacyMasks([LEFT_HALF])))
    assert "VideoFrame" not in told
