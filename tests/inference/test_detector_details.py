"""What a detector answers when more is found in a frame than a message holds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from inference import channel
from inference.channel import Answer, Filled, Outcome
from inference.detector import Detector
from inference.found import Found
from inference.heads import Outputs
from inference.input import InputSpec
from inference.metrics import DetectorMetrics
from inference.model import ModelInfo
from ingest.ring import Ring

OBJECTS, POINTS = 300, 50


class Idle:
    """A runtime whose output is of no importance."""

    parallel, max_batch = 1, 1
    info = ModelInfo("toy", "0" * 16, ("a",), "pose", InputSpec(), 64, "none", "cpu", "fp32", (POINTS, 3))

    def __init__(self, path: Path, config: Any) -> None: ...

    def prepare(self, height: int, width: int) -> None: ...

    def infer(self, pictures: Any) -> list[NDArray[np.float32]]:
        return [np.zeros((1, 1), np.float32)]


class Many:
    """A head that finds the same crowd everywhere."""

    def classes(self, outputs: Outputs, height: int, width: int) -> None: ...

    def decode(self, outputs: Outputs, height: int, width: int) -> Found:
        rows = np.ones((OBJECTS, 6), np.float32)
        return Found(rows, keypoints=np.ones((OBJECTS, POINTS, 3), np.float32))


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def answer(registry: CollectorRegistry) -> Iterator[Answer]:
    """What comes back for one frame."""
    detector = Detector(Idle(Path(), None), Many(), DetectorMetrics(registry), 1, 0.0)
    threads = [threading.Thread(target=run, daemon=True) for run in (detector.run_preparing, detector.run_inference)]
    for thread in threads:
        thread.start()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ring = Ring.create(1, 3 * 64 * 64)
    channel.send_hello(ours, ring.fd, 1, 3 * 64 * 64)
    peer = detector.attach("worker-0", theirs)
    channel.send(ours, channel.pack_filled(Filled(0, 0, 64, 64, True, 1.0, 7, 0)))
    assert detector.read(peer)
    ours.settimeout(10)
    yield channel.unpack_answer(ours.recv(channel.MAX_MESSAGE_BYTES))
    detector.stop()
    for thread in threads:
        thread.join(10)
    detector.detach(peer)
    ours.close()
    ring.close()


def test_all_boxes_come_with_the_details_that_fit_and_the_others_are_counted(
    answer: Answer, registry: CollectorRegistry
) -> None:
    fitting = channel.MAX_DETAIL_BYTES // (POINTS * 3 * 4)
    assert answer.outcome is Outcome.ANALYSED
    assert (len(answer.found.rows), answer.found.detailed) == (OBJECTS, fitting)
    assert registry.get_sample_value("vigil_details_dropped_total") == OBJECTS - fitting > 0
