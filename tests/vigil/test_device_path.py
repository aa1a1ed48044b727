"""Frames in GPU memory on their way through a worker, with memory of the CPU in the GPU's place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from threading import Event
from typing import Any, cast

import av
import numpy as np
import pytest
import torch

from inference import channel, preprocess_cuda
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.model import ModelInfo
from inference.preprocess_cuda import Colors, Samples, fit_by_torch
from ingest import device_ring
from ingest.activity import Activity
from ingest.config import PrivacyMask
from ingest.device_frame import DeviceFrame
from ingest.device_ring import DeviceRing
from ingest.ledger import FrameLedger
from ingest.privacy import FILL_VALUE
from ingest.ring import FreeSlots, Ring
from ingest.sources.packets import PacketCounts
from publish.publisher import Publisher
from tracking.config import TrackerConfig
from vigil import link as link_module
from vigil import reader
from vigil.config import StreamConfig
from vigil.control import Control
from vigil.link import DetectorLink
from vigil.orders import StreamOrder
from vigil.reader import StreamReader
from vigil.services import Services, WorkerMetrics
from vigil.worker import Worker

CPU = torch.device("cpu")
SLOT_BYTES = 3 * 64 * 64
MODEL = ModelInfo("m", "0", ("a",), "yolo", InputSpec(), 64, "torch", "cuda:0", "fp16")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ours, theirs
    theirs.close()


@pytest.fixture
def granted(monkeypatch: pytest.MonkeyPatch) -> DeviceRing:
    """What a handle opens here."""
    ring = DeviceRing.create(4, SLOT_BYTES, CPU)
    monkeypatch.setattr(DeviceRing, "open", lambda handle: ring)
    monkeypatch.setattr(device_ring, "device_of", lambda handle: 0)
    monkeypatch.setattr(link_module, "hold_gpu", lambda gpu: None)
    monkeypatch.setattr(preprocess_cuda, "prepare", lambda device: None)
    return ring


def test_a_granted_ring_is_taken(pair: tuple[socket.socket, socket.socket], granted: DeviceRing) -> None:
    link = DetectorLink(pair[0], Ring.create(4, SLOT_BYTES), MODEL)
    channel.send_grant(pair[1], b"handle")
    link.open_device_ring()
    assert link.device_ring is granted


def test_a_model_on_a_cpu_awaits_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    link = DetectorLink(pair[0], Ring.create(4, SLOT_BYTES), replace(MODEL, device="cpu"))
    assert (link.awaits_device, link.gpu) == (False, None)
    assert not channel.receive_hello(pair[1])[3]


@pytest.mark.parametrize("handle", [None, b"handle"])
def test_without_a_grant_or_a_gpu_frames_go_through_the_hosts_memory(
    pair: tuple[socket.socket, socket.socket], handle: bytes | None
) -> None:
    """`b"handle"` opens nothing, as on a machine without CUDA."""
    link = DetectorLink(pair[0], Ring.create(4, SLOT_BYTES), MODEL)
    channel.send_grant(pair[1], handle)
    link.open_device_ring()
    assert (link.device_ring, link.gpu) == (None, None)


# -- the worker


def worker_that(arrange: Any, pair: tuple[socket.socket, socket.socket]) -> Worker:
    """A worker without streams that was told of a detector, after `arrange` and what it led to."""
    ours, theirs = Control.pair()

    async def run() -> Worker:
        worker = Worker(ours)
        worker._slots_per_stream = 4
        worker._ring = Ring.create(4, SLOT_BYTES)
        worker._attach(pair[0], MODEL)
        assert worker._link is None, "it waits for the grant"
        arrange(worker)
        assert worker._device_task is not None
        await worker._device_task
        return worker

    with theirs:
        return asyncio.run(run())


def test_a_worker_joins_the_detector_when_it_has_the_ring(
    pair: tuple[socket.socket, socket.socket], granted: DeviceRing
) -> None:
    worker = worker_that(lambda _: channel.send_grant(pair[1], b"handle"), pair)
    assert worker._link is not None and worker._link.device_ring is granted


def test_a_detector_that_dies_meanwhile_is_not_joined(pair: tuple[socket.socket, socket.socket]) -> None:
    worker = worker_that(lambda _: pair[1].close(), pair)
    assert worker._link is None


def test_a_detector_that_was_replaced_meanwhile_is_not_joined(
    pair: tuple[socket.socket, socket.socket], granted: DeviceRing
) -> None:
    def replaced(worker: Worker) -> None:
        channel.send_grant(pair[1], b"handle")
        worker._joining = cast(DetectorLink, object())

    worker = worker_that(replaced, pair)
    assert worker._link is None


# -- the reader


class Letterboxer:
    """`DeviceLetterboxer` on the CPU."""

    def __init__(self, device: torch.device) -> None:
        assert device == CPU

    def apply(self, frame: DeviceFrame, letterbox: Letterbox, out: torch.Tensor) -> None:
        settings = {"colors": Colors.of(frame), "samples": Samples.of(letterbox, CPU), "letterbox": letterbox}
        frame.shrink_on_device(partial(fit_by_torch, **settings, out=out), out, letterbox.place)


class Two:
    """A source whose first picture is in GPU memory and whose second is not."""

    frame_rate, decode_s, description, decoder, fallback = 25.0, 0.0, "two", "nvdec", None
    packets = PacketCounts()

    def frames(self) -> Iterator[av.VideoFrame]:
        for number, layout in enumerate(("nv12", "yuv420p")):
            picture = np.full((32, 64, 3), 90 + 60 * number, np.uint8)
            image = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=layout)
            image.pts, image.time_base = number, Fraction(1, 25)
            yield image


class Listener:
    def __init__(self) -> None:
        self.stop = Event()

    def state_changed(self, change: Any) -> None:
        if change.reason is not None:
            self.stop.set()

    def drain(self) -> None:
        pass


@dataclass
class Read:
    """What came of reading `Two`: the ring, what the detector is told, which GPU was asked for, and the metrics."""

    ring: Ring
    told: list[channel.Filled]
    asked: list[int | None]
    metrics: WorkerMetrics


@pytest.fixture
def read_two(
    pair: tuple[socket.socket, socket.socket], granted: DeviceRing, monkeypatch: pytest.MonkeyPatch
) -> Callable[[StreamConfig], Read]:
    return lambda config: read(config, pair, monkeypatch)


def read(config: StreamConfig, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> Read:
    asked: list[int | None] = []

    @contextmanager
    def open_two(config: object, gpu: int | None = None, calls: object = None) -> Iterator[Two]:
        asked.append(gpu)
        yield Two()

    monkeypatch.setattr(reader, "open_source", open_two)
    monkeypatch.setattr(reader, "is_on_device", lambda image: image.format.name == "nv12")
    monkeypatch.setattr(preprocess_cuda, "DeviceLetterboxer", Letterboxer)
    ring = Ring.create(4, SLOT_BYTES)
    link = DetectorLink(pair[0], ring, MODEL)
    channel.send_grant(pair[1], b"handle")
    link.open_device_ring()
    metrics = WorkerMetrics()
    services = Services(
        site="test", activity=Activity.create(1), publisher=cast(Publisher, None), metrics=metrics,
        link=lambda: link, call=lambda function, *arguments: function(*arguments), report=lambda *_: None,
    )  # fmt: skip
    order = StreamOrder(name="gate", source=config, tracker=TrackerConfig(), config_rev="0")
    listener = Listener()
    StreamReader(order, 0, FrameLedger(), FreeSlots(range(4)), services).run(listener, listener.stop)

    channel.receive_hello(pair[1])
    told = [channel.unpack_filled(pair[1].recv(channel.MAX_MESSAGE_BYTES)) for _ in range(2)]
    return Read(ring, told, asked, metrics)


def test_frames_of_both_memories_depart_in_the_slots_of_theirs(
    read_two: Callable[[StreamConfig], Read], granted: DeviceRing
) -> None:
    done = read_two(StreamConfig(url="rtsp://x/y"))
    first, second = done.told
    assert (first.on_device, second.on_device) == (True, False)
    inner = granted.picture(first.slot, first.height, first.width)
    assert abs(float(inner.float().mean()) - 90) < 6
    assert abs(float(done.ring.picture(second.slot, second.height, second.width).mean()) - 150) < 6
    assert done.asked == [granted.device.index]
    decoders = {
        sample.labels["decoder"]: sample.value
        for family in done.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "vigil_decoder_info" and sample.value
    }
    assert decoders == {"nvdec": 1.0}


def test_a_slot_of_either_memory_leaves_the_reader_masked(
    read_two: Callable[[StreamConfig], Read], granted: DeviceRing
) -> None:
    left = PrivacyMask(polygon=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)])
    done = read_two(StreamConfig(url="rtsp://x/y", privacy_masks={"left": left}))
    first, second = done.told
    slots = [
        granted.picture(first.slot, first.height, first.width).numpy(),
        done.ring.picture(second.slot, second.height, second.width),
    ]
    for slot, level in zip(slots, (90, 150), strict=True):
        assert (slot[:, :32] == FILL_VALUE).all()
        assert abs(float(slot[:, 40:].mean()) - level) < 6
