"""Capture devices, as far as a machine without one can tell: what is no device is named with its mend.

Reading pictures has not met a device in these tests, only one that OpenCV's interface is played by.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from ingest.sources import v4l2 as module
from ingest.sources.v4l2 import V4l2Source


def refusal(path: str) -> SourceError:
    config = SourceConfig(url=f"v4l2://{path}")
    with pytest.raises(SourceError) as refused, open_source(config):
        pass
    return refused.value


def test_a_device_that_is_not_there_is_not_found() -> None:
    error = refusal("/dev/video77")
    assert error.reason is Reason.NOT_FOUND
    assert "there is no /dev/video77" in error.detail
    assert "--device /dev/video77" in error.detail


def test_other_devices_and_files_are_no_capture_devices() -> None:
    assert refusal("/dev/null").reason is Reason.NO_VIDEO
    assert "is no capture device" in refusal("/dev/zero").detail
    folder = refusal("/dev/shm")
    assert (folder.reason, "is no capture device" in folder.detail) == (Reason.NO_VIDEO, True)


@pytest.fixture
def regular_file() -> Iterator[Path]:
    path = Path(f"/dev/shm/vigil-test-{os.getpid()}")
    path.write_bytes(b"no pictures")
    yield path
    path.unlink()


def test_a_regular_file_is_no_capture_device(regular_file: Path) -> None:
    assert refusal(str(regular_file)).reason is Reason.NO_VIDEO


def test_a_device_that_may_not_be_opened_names_the_group(regular_file: Path) -> None:
    regular_file.chmod(0)
    child = os.fork()
    if child == 0:  # root may open anything, so the attempt is made as nobody
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            V4l2Source(SourceConfig(url=f"v4l2://{regular_file}")).__enter__()
        except SourceError as error:
            os._exit(0 if error.reason is Reason.AUTH and "group video" in error.detail else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_query_of_capabilities_is_the_kernels() -> None:
    """_IOR('V', 0, struct v4l2_capability): two bits of direction, 14 of size, the type and the number."""
    assert module._CAPABILITY.size == 104
    assert 2 << 30 | module._CAPABILITY.size << 16 | ord("V") << 8 == module._QUERYCAP


def capability(capabilities: int, own: int) -> bytes:
    return struct.pack("16s32s32sIII12x", b"uvcvideo", b"HD Webcam\0", b"usb-1", 0, capabilities, own)


class Played:
    """Stands for cv2.VideoCapture: three pictures, one of them broken, and then what `ends` says."""

    def __init__(self, path: str, backend: int) -> None:
        assert (path, backend) == ("/dev/null", cv2.CAP_V4L2)
        self.asked: dict[int, float] = {}
        self.left = 3

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, name: int, value: float) -> bool:
        self.asked[name] = value
        return True

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0, cv2.CAP_PROP_FPS: 30.0}[name]

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray | None]:
        return (False, None) if self.left == 1 else (True, np.full((48, 64, 3), 10 * self.left, np.uint8))

    def release(self) -> None: ...


def test_pictures_become_frames_timed_by_their_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.fcntl, "ioctl", lambda *_: capability(0x84200001, 0x04200001))
    monkeypatch.setattr(module.cv2, "VideoCapture", Played)
    source = V4l2Source(SourceConfig(url="v4l2:///dev/null?width=64&height=48&fps=30&format=mjpeg"))
    with source:
        assert isinstance(source._capture, Played)
        assert source._capture.asked == {
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"), cv2.CAP_PROP_FRAME_WIDTH: 64,
            cv2.CAP_PROP_FRAME_HEIGHT: 48, cv2.CAP_PROP_FPS: 30,
        }  # fmt: skip
        assert (source.description, source.frame_rate) == ("HD Webcam 64x48 30 fps", 30.0)
        pictures = source.frames()
        taken = [next(pictures), next(pictures)]
        with pytest.raises(SourceError) as lost:
            next(pictures)
    assert [int(picture.to_ndarray(format="bgr24").mean()) for picture in taken] == [20, 0]
    assert taken[0].pts is not None and taken[1].pts is not None and taken[0].pts <= taken[1].pts
    assert source.packets.broken == 1
    assert lost.value.reason is Reason.LOST


def test_a_webcams_metadata_device_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.fcntl, "ioctl", lambda *_: capability(0x84A00001, 0x04A00000))
    error = refusal("/dev/null")
    assert error.reason is Reason.NO_VIDEO
    assert "second device for metadata" in error.detail


def test_a_device_that_another_program_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real OpenCV, which cannot open /dev/null as a camera either."""
    monkeypatch.setattr(module.fcntl, "ioctl", lambda *_: capability(0x84200001, 0x04200001))
    error = refusal("/dev/null")
    assert error.reason is Reason.REFUSED
    assert "has another program got it?" in error.detail
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
