"""What the supervisor does about what its children say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.input import InputSpec
from inference.model import ModelInfo
from vigil.config import VigilConfig
from vigil.control import Order
from vigil.service import Service

MODEL = ModelInfo("m", "0" * 16, ("person",), "yolo", InputSpec(), 640, "openvino", "cpu", "fp32")


class Process:
    """A child that only remembers what it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready, self.ended = asyncio.Event(), asyncio.Event()
        self.ready.set()
        self.sent: list[str] = []

    def send(self, kind: str, fds: Sequence[int] = (), **data: Any) -> None:
        del data
        assert fds
        self.sent.append(kind)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    config = {"state_dir": tmp_path, "streams": {"gate": {"url": "rtsp://10.0.0.1/x"}}}
    service = Service(VigilConfig.model_validate(config))
    service._fleet.plan(service._wanted(service.config, service._detectors.wanted(service.config)))
    return service


@pytest.mark.parametrize(("detector_lives", "told"), [(True, ["detector"]), (False, [])])
def test_a_worker_that_lost_its_link_gets_another_while_the_detector_lives(
    service: Service, detector_lives: bool, told: list[str]
) -> None:
    (shard,) = service._fleet.shards
    worker, detector = Process("worker-0"), Process("detector")
    shard.child, shard.detector.child, shard.detector.model = worker, detector, MODEL  # type: ignore[assignment]
    if not detector_lives:
        detector.ended.set()
    service._fleet.hear(worker, Order("unlinked"))  # type: ignore[arg-type]
    assert worker.sent == told
    assert detector.sent == (["worker"] if detector_lives else [])


def test_the_supervisor_starts_without_what_only_its_children_need() -> None:
    heavy = "{'numba', 'av', 'cv2', 'scipy', 'torch', 'openvino', 'boto3'}"
    code = f"import sys, vigil.service; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
