"""Streams of one service are analysed by different models, and one model's end is not the other's."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from inference.model import STARTER
from tests.e2e.real import Inbox, Running, wait_for


def test_each_stream_is_analysed_by_the_model_it_names(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path, tmp_path: Path
) -> None:
    shutil.copy(STARTER, tmp_path / "other.onnx")
    stream = {"url": str(street), "loop": True}
    service = run_service({
        "detectors": {"second": {"model": str(tmp_path / "other.onnx"), "image_size": 256}},
        "streams": {"a": stream, "b": {**stream, "detector": "second"}},
    })  # fmt: skip
    inbox = subscribe(service)
    wait_for("results of both", lambda: len(inbox.of("a")) > 5 and len(inbox.of("b")) > 5)
    assert {frame["model"]["name"] for frame in inbox.of("a")} == {STARTER.stem}
    assert {frame["model"]["name"] for frame in inbox.of("b")} == {"other"}
    assert len(service.children()["detector"]) == 2

    first = min(service.children()["detector"], key=lambda process: process.create_time())
    first.suspend()  # alive but of no use, until the supervisor notices
    try:
        stopped = time.monotonic()
        wait_for("what was on its way", lambda: any(frame["_arrived"] > stopped + 1 for frame in inbox.of("b")))
        before = len(inbox.of("a")), len(inbox.of("b"))
        wait_for("more of the other", lambda: len(inbox.of("b")) > before[1] + 10)
        assert len(inbox.of("a")) == before[0]
    finally:
        first.resume()
    resumed = time.monotonic()
    wait_for("the first again", lambda: any(frame["_arrived"] > resumed for frame in inbox.of("a")))
