"""Frames in GPU memory, as far as they can be tried on pictures in the host's: same layout, same DLPack export."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from ingest.clock import Clock
from ingest.device_frame import DeviceFrame, is_on_device


def frame_of(image: av.VideoFrame) -> DeviceFrame:
    return DeviceFrame("gate", 1, 0, 0, 0, 0, Clock.ARRIVAL, None, image)


def planes_of(frame: DeviceFrame) -> list[torch.Tensor]:
    """What a kernel is given."""
    given: list[torch.Tensor] = []
    frame.shrink_on_device(
        lambda *planes: given.extend(planes), torch.zeros((4, 4, 3), dtype=torch.uint8), (0, 0, 4, 4)
    )
    return given


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (48, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize(("layout", "dtype"), [("nv12", np.uint8), ("p010le", np.uint16)])
def test_planes_are_the_decoders_own_memory(picture: np.ndarray, layout: str, dtype: type) -> None:
    image = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=layout)
    luma, chroma = planes_of(frame_of(image))
    assert luma.shape == (48, 70)
    assert chroma.shape == (24, 35, 2)
    row = np.frombuffer(memoryview(image.planes[0]), dtype)[: image.planes[0].line_size // np.dtype(dtype).itemsize]
    np.testing.assert_array_equal(luma[0].numpy(), row[:70])
    assert luma.data_ptr() == np.frombuffer(memoryview(image.planes[0]), np.uint8).ctypes.data


def test_planes_outlive_their_frame(picture: np.ndarray) -> None:
    image = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="nv12")
    expected = image.to_ndarray()[:48]
    luma, _ = planes_of(frame_of(image))
    del image
    np.testing.assert_array_equal(luma.numpy(), expected)


def test_the_host_gets_a_picture_once(picture: np.ndarray) -> None:
    frame = frame_of(av.VideoFrame.from_ndarray(picture, format="bgr24"))
    host = frame.bgr()
    np.testing.assert_array_equal(host, picture)
    assert frame.bgr() is host
    assert not host.flags.writeable


def test_it_is_a_frame_like_any_other(picture: np.ndarray) -> None:
    frame = frame_of(av.VideoFrame.from_ndarray(picture, format="bgr24"))
    assert (frame.width, frame.height, frame.stream) == (70, 48, "gate")


def test_pictures_in_host_memory_are_not_on_the_device() -> None:
    assert not is_on_device(av.VideoFrame(16, 16, "nv12"))
