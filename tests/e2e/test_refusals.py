"""What cannot work ends at once, with one clear error and the right exit code."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real import Running


@pytest.fixture
def streams(street: Path) -> dict[str, Any]:
    return {"cam": {"url": str(street), "loop": True}}


def refused(service: Running) -> str:
    assert service.process.wait(60) == 1
    last = service.log.read_text().strip().splitlines()[-1]
    assert last.startswith("error: "), service.log.read_text()
    assert "Traceback" not in service.log.read_text()
    return last


def test_a_model_that_does_not_say_what_it_is(
    run_service: Callable[..., Running], streams: dict[str, Any], data: Path
) -> None:
    model = {"model": str(data / "weights" / "yolox_nano.onnx")}
    error = refused(run_service({"streams": streams, "detector": model}, wait=False))
    assert "yolox_nano.onnx does not say its task, names, stride" in error
    assert "model.failed" in error


def test_a_port_that_is_taken(run_service: Callable[..., Running], streams: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused(run_service({"streams": streams, "http": {"port": port}}, wait=False))
    assert f"cannot listen on 127.0.0.1:{port}" in error
