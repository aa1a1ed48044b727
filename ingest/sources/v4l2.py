"""Webcams and capture cards (V4L2), through OpenCV: PyAV's FFmpeg is built without their driver interface."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import cv2

from ingest.activity import Calls
from ingest.addresses import PIXEL_FORMATS, CaptureDevice
from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources.packets import PacketCounts

MICROSECONDS = Fraction(1, 1_000_000)
# OpenCV waits so long for a picture, unless OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT was set when it was loaded.
GRAB_S = 10.0
# VIDIOC_QUERYCAP and struct v4l2_capability of linux/videodev2.h.
_QUERYCAP, _CAPABILITY = 0x80685600, struct.Struct("16s32s32sIII12x")
_CAPTURES, _HAS_DEVICE_CAPS = 0x00000001 | 0x00001000, 0x80000000


class V4l2Source:
    """A device's pictures, timed by their arrival, as drivers disagree on what their timestamps mean.

    A grab may last for GRAB_S where the device falls silent, whatever `read_timeout` says.
    """

    def __init__(self, config: SourceConfig) -> None:
        self._device = CaptureDevice.parse(config.url)
        self._capture: cv2.VideoCapture | None = None
        self.calls = Calls()
        self.packets = PacketCounts()
        self.frame_rate: float | None = None
        self.decode_s = 0.0
        self.decoder = "cpu"
        self.fallback: str | None = None
        self.description = ""

    def __enter__(self) -> V4l2Source:
        card = self._card()
        self.calls.enter(GRAB_S)
        try:
            self._capture = capture = cv2.VideoCapture(self._device.path, cv2.CAP_V4L2)
            self._ask_for(capture)
        finally:
            self.calls.leave()
        if not capture.isOpened():
            self.__exit__()
            raise SourceError(
                Reason.REFUSED,
                f"{self._device.path} cannot be read: has another program got it? (fuser -v tells)",
            )
        size = f"{capture.get(cv2.CAP_PROP_FRAME_WIDTH):g}x{capture.get(cv2.CAP_PROP_FRAME_HEIGHT):g}"
        self.frame_rate = capture.get(cv2.CAP_PROP_FPS) or None
        rate = f" {self.frame_rate:g} fps" if self.frame_rate else ""
        self.description = f"{card} {size}{rate}"
        return self

    def __exit__(self, *_: object) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def frames(self) -> Iterator[av.VideoFrame]:
        assert self._capture is not None, "enter the source first"
        self.packets.begin(time.monotonic())
        while True:
            self.calls.enter(GRAB_S)
            began = time.monotonic()
            grabbed = self._capture.grab()
            self.calls.leave()
            if not grabbed:
                raise self._loss(time.monotonic() - began)
            arrived_us = time.monotonic_ns() // 1000
            self.packets.arrived(True)
            started = time.perf_counter()
            complete, picture = self._capture.retrieve()
            self.decode_s = time.perf_counter() - started
            if not complete:
                self.packets.broke()
                continue
            self.packets.decoded(time.monotonic())
            frame = av.VideoFrame.from_ndarray(picture, "bgr24")
            frame.pts, frame.time_base = arrived_us, MICROSECONDS
            yield frame

    def _loss(self, waited_s: float) -> SourceError:
        path = self._device.path
        if not os.path.exists(path):
            return SourceError(Reason.LOST, f"{path} is gone: unplugged?")
        if waited_s >= GRAB_S / 2:
            return SourceError(Reason.TIMEOUT, f"{path} sent no picture for {waited_s:.1f} s")
        return SourceError(Reason.LOST, f"{path} cannot be read any more")

    def _ask_for(self, capture: cv2.VideoCapture) -> None:
        wanted = self._device
        if wanted.format:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*PIXEL_FORMATS[wanted.format]))
        if wanted.width and wanted.height:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
        if wanted.fps:
            capture.set(cv2.CAP_PROP_FPS, wanted.fps)

    def _card(self) -> str:
        """What the device is called, once it has proved to be one that pictures come from."""
        path = self._device.path
        try:
            device = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _reason(path, error) from None
        try:
            answer = fcntl.ioctl(device, _QUERYCAP, bytes(_CAPABILITY.size))
        except OSError as error:
            raise _reason(path, error) from None
        finally:
            os.close(device)
        _, card, _, _, capabilities, own = _CAPABILITY.unpack(answer)
        if not (own if capabilities & _HAS_DEVICE_CAPS else capabilities) & _CAPTURES:
            raise SourceError(
                Reason.NO_VIDEO,
                f"{path} gives no pictures; many webcams have a second device for metadata",
            )
        return str(card.split(b"\0")[0].decode(errors="replace"))


def _reason(path: str, error: OSError) -> SourceError:
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return SourceError(
            Reason.NOT_FOUND, f"there is no {path}: is it plugged in? A container needs it passed in (--device {path})"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return SourceError(Reason.AUTH, f"{path} may not be opened: add this user to the group video (or --group-add)")
    if error.errno == errno.EBUSY:
        return SourceError(Reason.REFUSED, f"another program has {path} (fuser -v {path} shows which)")
    return SourceError(Reason.NO_VIDEO, f"{path} is no capture device ({error.strerror})")
