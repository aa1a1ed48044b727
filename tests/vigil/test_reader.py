"""Whatever goes wrong while a camera is read ends its connection and is told; the stream tries again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any, cast

import pytest

from ingest.activity import Activity
from ingest.errors import Reason
from ingest.ledger import FrameLedger
from ingest.reconnect import StreamState
from ingest.ring import FreeSlots
from publish.publisher import Publisher
from tracking.config import TrackerConfig
from vigil import reader
from vigil.config import StreamConfig
from vigil.orders import StreamOrder
from vigil.reader import StateChange, StreamReader
from vigil.services import Services, WorkerMetrics


class Broken:
    """A source whose pictures nobody can read."""

    frame_rate, decode_s, description = 25.0, 0.0, "broken"

    def frames(self) -> Iterator[Any]:
        raise ValueError("a plane of -7 bytes")
        yield


class Watcher:
    """Stops the reader when it has backed off."""

    def __init__(self) -> None:
        self.changes: list[StateChange] = []
        self.stop = Event()

    def state_changed(self, change: StateChange) -> None:
        self.changes.append(change)
        if change.state is StreamState.BACKOFF:
            self.stop.set()

    def drain(self) -> None:
        pass


def test_an_unexpected_failure_ends_the_connection_and_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def open_broken(config: object, gpu: int | None = None) -> Iterator[Broken]:
        yield Broken()

    monkeypatch.setattr(reader, "open_source", open_broken)
    services = Services(
        site="test", activity=Activity.create(1), publisher=cast(Publisher, None), metrics=WorkerMetrics(),
        link=lambda: None, call=lambda function, *arguments: function(*arguments), report=lambda *_: None,
    )  # fmt: skip
    order = StreamOrder(name="gate", source=StreamConfig(url="rtsp://x/y"), tracker=TrackerConfig(), config_rev="0")
    watcher = Watcher()
    StreamReader(order, 0, FrameLedger(), FreeSlots(range(2)), services).run(watcher, watcher.stop)
    states = [change.state for change in watcher.changes]
    assert states == [StreamState.CONNECTING, StreamState.BACKOFF, StreamState.STOPPED]
    assert watcher.changes[1].reason is Reason.CORRUPT
    assert watcher.changes[1].detail == "ValueError: a plane of -7 bytes"
