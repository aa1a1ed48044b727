"""A detector whose runtime reads GPU memory: workers get a ring there, and a batch may come from both memories."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from inference import channel
from inference.channel import Filled, Outcome
from inference.detector import Detector
from inference.found import Found
from inference.heads import Head
from inference.metrics import DetectorMetrics
from inference.runtimes import Picture, Runtime
from ingest.device_ring import DeviceRing
from ingest.ring import Ring

SIZE, SLOT_BYTES = (32, 64), 32 * 64 * 3


class Device:
    """A runtime on a GPU; tells each picture's first value as the score of a box."""

    info = None
    parallel, max_batch, detects = 1, 2, True

    def __init__(self, gpu: torch.device | None) -> None:
        self.gpu = gpu
        self.kinds: list[type] = []

    def prepare(self, height: int, width: int) -> None:
        pass

    def infer(self, pictures: Sequence[Any]) -> list[np.ndarray]:
        raise AssertionError("it decodes by itself")

    def detect(self, pictures: Sequence[Picture]) -> list[Found]:
        self.kinds += [type(picture) for picture in pictures]
        return [Found(np.array([[0, 0, 1, 1, float(picture[0, 0, 0]), 0]], np.float32)) for picture in pictures]


def detector_on(runtime: Device) -> Detector:
    return Detector(
        cast(Runtime, runtime), cast(Head, None), DetectorMetrics(CollectorRegistry()), batch="auto", max_wait_s=0
    )


@pytest.fixture
def link(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(DeviceRing, "handle", lambda ring: b"handle")  # memory on a CPU has none
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_frames_in_both_memories_share_the_detector(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    runtime = Device(torch.device("cpu"))
    detector = detector_on(runtime)
    ring = Ring.create(4, SLOT_BYTES)
    channel.send_hello(ours, ring.fd, 4, SLOT_BYTES, wants_device_ring=True)
    peer = detector.attach("worker-0", theirs)
    assert channel.receive_grant(ours) == b"handle"
    assert peer.device_ring is not None
    ring.picture(1, *SIZE)[:] = 11
    peer.device_ring.picture(1, *SIZE)[:] = 99
    peer.device_ring.picture(2, *SIZE)[:] = 22
    threads = [threading.Thread(target=run, daemon=True) for run in (detector.run_preparing, detector.run_inference)]
    for thread in threads:
        thread.start()
    for stream, slot, on_device in ((0, 1, False), (1, 2, True)):
        channel.send(ours, channel.pack_filled(Filled(slot, stream, *SIZE, False, 1.0, 1, 0, on_device)))
    assert detector.read(peer)
    assert detector.read(peer)
    ours.settimeout(10)
    answers = [channel.unpack_answer(ours.recv(channel.MAX_MESSAGE_BYTES)) for _ in range(2)]
    detector.stop()
    assert {answer.outcome for answer in answers} == {Outcome.ANALYSED}
    assert {answer.slot: float(answer.found.rows[0, 4]) for answer in answers} == {1: 11.0, 2: 22.0}
    assert {np.ndarray, torch.Tensor} <= set(runtime.kinds)
    ring.close()


def test_a_replaced_worker_takes_over_the_ring_of_the_dead_one(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    detector = detector_on(Device(torch.device("cpu")))
    ring = Ring.create(4, SLOT_BYTES)
    rings = []
    for slots in (4, 4, 2):
        channel.send_hello(ours, ring.fd, slots, SLOT_BYTES, wants_device_ring=True)
        rings.append(detector.attach("worker-0", theirs).device_ring)
    assert rings[0] is rings[1]
    assert rings[2] is not rings[1]
    ring.close()


@pytest.mark.parametrize("gpu", [None, torch.device("meta")])
def test_without_memory_to_share_there_is_no_ring_and_the_worker_is_told(
    gpu: torch.device | None, link: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> DeviceRing:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(DeviceRing, "create", out_of_memory)
    ours, theirs = link
    ring = Ring.create(4, SLOT_BYTES)
    channel.send_hello(ours, ring.fd, 4, SLOT_BYTES, wants_device_ring=True)
    assert detector_on(Device(gpu)).attach("worker-0", theirs).device_ring is None
    assert channel.receive_grant(ours) is None
    ring.close()
