"""The detector process.

| runs                     | where                                              |
|--------------------------|----------------------------------------------------|
| reading links, control   | the main thread, in `_serve`                       |
| `Detector.run_inference` | `runtime.parallel` daemon threads                  |
| `Detector.run_preparing` | one daemon thread                                  |
| telling that it loads    | one daemon thread, until the model is there        |

It ends when told to, when the supervisor is gone, or with an error when inference keeps failing.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from prometheus_client import CollectorRegistry

from inference.config import DetectorConfig
from inference.detector import Detector, Peer
from inference.errors import ModelError
from inference.features import Features
from inference.heads import Head, check_head, load_head, yolo
from inference.metrics import DetectorMetrics
from inference.model import find_model
from inference.runtimes import Runtime, add_feature_map, load_runtime, probe_size, with_feature_map
from inference.selftest import self_test
from inference.sidecar import read_sidecar
from inference.typical import typical_features
from publish.metrics import snapshot
from vigil import logging
from vigil.control import Control

log = structlog.get_logger()

BEAT_S = 1.0
LONGEST_LOAD_S = 1800.0


class Loaded(NamedTuple):
    """What computes a model, what reads its output, and, where it has a feature map, what is common to all objects."""

    runtime: Runtime
    head: Head
    typical: Features | None = None


def load_model(config: DetectorConfig, tested: bool = False, features: bool = False) -> Loaded:
    """The model, loaded and tried; `tested`: an earlier process has tried the same one.

    `features`: it shall also tell what objects look like.

    Raises:
        ModelError: it cannot be.
    """
    path, why = find_model(config.model)
    log.info("model chosen", model=Path(path).name, why=why)
    runtime = load_runtime(path, with_feature_map(config) if features else config)
    info = runtime.info
    head = load_head(info, config.confidence, config.iou, info.class_ids(config.classes), config.max_detections)
    height, width = probe_size(info.input)
    runtime.prepare(height, width)
    outputs = [output[0] for output in runtime.infer([np.zeros((height, width, 3), np.uint8)])]
    check_head(head, info, outputs, height, width)
    sidecar = read_sidecar(path)
    if not tested and (sidecar is None or sidecar.self_test):
        self_test(runtime)
    typical = None
    if features:
        add_feature_map(runtime)
        typical = typical_features(runtime)
    return Loaded(runtime, head, typical)


def load(config: DetectorConfig, registry: CollectorRegistry, tested: bool = False, features: bool = False) -> Detector:
    """As `load_model`, ready to serve workers."""
    runtime, head, typical = load_model(config, tested, features)
    info = runtime.info
    metrics = DetectorMetrics(registry)
    metrics.model.labels(info.name, info.hash, info.runtime, info.precision, info.device).set(1)
    return Detector(runtime, head, metrics, config.batch, config.max_wait, typical)


WARM_UPS = (yolo.warm_up,)


def main(control: Control) -> None:
    logging.configure(level="debug", style="json")
    registry = CollectorRegistry()
    try:
        order = control.receive()
        assert order is not None and order.kind == "assign"
        with _told_to_be_loading(control):
            detector = load(
                DetectorConfig.model_validate(order.data["detector"]), registry, order.data["tested"],
                order.data["features"],
            )  # fmt: skip
    except EOFError:
        os._exit(1)
    except ModelError as error:
        control.send("failed", code=error.code, message=str(error))
        os._exit(1)
    threads = [threading.Thread(target=detector.run_preparing, name="prepare", daemon=True)]
    threads += [
        threading.Thread(target=detector.run_inference, name=f"infer {index}", daemon=True)
        for index in range(detector.runtime.parallel)
    ]
    for thread in threads:
        thread.start()
    control.send("ready", model=detector.runtime.info.to_json())
    try:
        _serve(detector, control, registry)
    except (EOFError, OSError):
        os._exit(1)  # the supervisor is gone
    detector.stop()
    os._exit(0)


@contextmanager
def _told_to_be_loading(control: Control) -> Iterator[None]:
    """Quantising a model or building an engine takes minutes, in which the supervisor would take silence for a hang."""
    done = threading.Event()
    ends = time.monotonic() + LONGEST_LOAD_S

    def tell() -> None:
        while not done.wait(BEAT_S) and time.monotonic() < ends:
            with suppress(OSError):  # the supervisor is gone, which reading from it tells
                control.send("beat")

    thread = threading.Thread(target=tell, name="loading", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _serve(detector: Detector, control: Control, registry: CollectorRegistry) -> None:
    """Reads orders and links until told to stop."""
    selector = selectors.DefaultSelector()
    selector.register(control.link, selectors.EVENT_READ, None)
    next_beat = 0.0
    while True:
        for key, _ in selector.select(max(0.0, next_beat - time.monotonic())):
            peer: Peer | None = key.data
            if peer is None:
                order = control.receive()
                if order is not None and order.kind == "stop":
                    return
                if order is not None and order.kind == "worker":
                    _attach(detector, selector, order.data["worker"], socket.socket(fileno=order.fds[0]))
            elif not detector.read(peer):
                selector.unregister(peer.link)
                detector.detach(peer)
        if time.monotonic() >= next_beat:
            if not detector.hangs():  # silence is what the supervisor acts on
                control.send("metrics", families=snapshot(registry))
                control.send("beat")
            next_beat = time.monotonic() + BEAT_S


def _attach(detector: Detector, selector: selectors.BaseSelector, worker: str, link: socket.socket) -> None:
    try:
        peer = detector.attach(worker, link)
    except (EOFError, OSError):
        link.close()  # that worker died before it said hello
        return
    selector.register(link, selectors.EVENT_READ, peer)
