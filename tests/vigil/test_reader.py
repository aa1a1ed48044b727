"""Whatever goes wrong while a camera is read ends its connection and is told; the stream tries again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from queue import Queue
from threading import Event
from typing import Any, ClassVar, cast

import av
import pytest

from inference.input import InputSpec
from inference.model import ModelInfo
from ingest.activity import Activity, Calls
from ingest.clock import NS
from ingest.errors import Reason, SourceError
from ingest.frame import Frame
from ingest.ledger import FrameLedger
from ingest.reconnect import StreamState
from ingest.ring import FreeSlots
from ingest.sources import open_source
from ingest.sources.packets import PacketCounts
from publish.preview.annotate import Rules
from publish.preview.views import Surroundings, Views
from publish.publisher import Publisher
from publish.schema import FrameResult
from tests.e2e.real import wait_for
from tests.ingest.clips import pictures
from tracking.config import TrackerConfig
from vigil import reader
from vigil.config import StreamConfig
from vigil.orders import StreamOrder
from vigil.reader import StateChange, StreamReader
from vigil.services import Services, WorkerMetrics
from vigil.stream import Stream

MODEL = ModelInfo("m", "0" * 16, ("person",), "yolo", InputSpec(), 640, "openvino", "cpu", "fp32")
Frames = Callable[[], Iterator[av.VideoFrame]]


class Fake:
    """A source whose frames a test writes."""

    frame_rate, decode_s, description, decoder, fallback = 25.0, 0.0, "fake", "cpu", None

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.packets = PacketCounts()


class Watcher:
    """Notes what it is told, and stops the reader after so many back-offs."""

    def __init__(self, backoffs: int = 1) -> None:
        self.changes: list[StateChange] = []
        self.stop = Event()
        self._backoffs = backoffs

    def state_changed(self, change: StateChange) -> None:
        self.changes.append(change)
        self._backoffs -= change.state is StreamState.BACKOFF
        if not self._backoffs:
            self.stop.set()

    def drain(self) -> None:
        pass

    @property
    def states(self) -> list[str]:
        return [change.state.value for change in self.changes]


def services() -> Services:
    return Services(
        site="test", activity=Activity.create(1), publisher=cast(Publisher, Silent()), metrics=WorkerMetrics(),
        link=lambda: None, call=lambda function, *arguments: function(*arguments), report=lambda *_: None,
    )  # fmt: skip


class Silent:
    """A publisher that nobody hears; it keeps the states."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def status(self, status: Any) -> None:
        self.told.append(status)


def order(**settings: Any) -> StreamOrder:
    return StreamOrder(
        name="gate", source=StreamConfig(url="rtsp://x/y", **settings), tracker=TrackerConfig(), config_rev="0"
    )


def read(monkeypatch: pytest.MonkeyPatch, frames: Frames, watcher: Watcher, **settings: Any) -> Services:
    @contextmanager
    def open_fake(config: object, gpu: int | None = None, calls: object = None) -> Iterator[Fake]:
        yield Fake(frames)

    monkeypatch.setattr(reader, "open_source", open_fake)
    shared = services()
    StreamReader(order(**settings), 0, FrameLedger(), FreeSlots(range(2)), shared).run(watcher, watcher.stop)
    return shared


def paced(frames: Iterator[av.VideoFrame], every_s: float = 0.02) -> Iterator[av.VideoFrame]:
    for number, frame in enumerate(frames):
        Event().wait(every_s)
        if frame.pts is None:
            frame.pts = number
        yield frame


def test_an_unexpected_failure_ends_the_connection_and_not_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Any]:
        raise ValueError("a plane of -7 bytes")
        yield

    watcher = Watcher()
    read(monkeypatch, broken, watcher)
    assert watcher.states == ["connecting", "backoff", "stopped"]
    assert watcher.changes[1].reason is Reason.CORRUPT
    assert watcher.changes[1].detail == "ValueError: a plane of -7 bytes"


def test_while_there_is_no_detector_viewers_go_on_seeing_the_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def open_fake(config: object, gpu: int | None = None, calls: object = None) -> Iterator[Fake]:
        yield Fake(lambda: paced(pictures(3), 0.0))

    class Seen(Views):
        seqs: ClassVar[list[int]] = []

        def told(self, frame: Frame, result: FrameResult | None) -> None:
            assert result is None
            self.seqs.append(frame.seq)

    monkeypatch.setattr(reader, "open_source", open_fake)
    views, watcher = Seen("gate", Rules(), False, cast(Surroundings, None)), Watcher()
    watching = StreamReader(order(), 0, FrameLedger(), FreeSlots(range(2)), services(), views=views)
    watching.run(watcher, watcher.stop)
    assert not views.seqs
    views.wants_pictures = True
    watcher = Watcher()
    watching.run(watcher, watcher.stop)
    assert views.seqs == [0, 1, 2]


def test_a_picture_that_stays_the_same_is_stalled_and_then_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def frozen() -> Iterator[av.VideoFrame]:
        still = next(pictures(1)).reformat(format="yuv420p").to_ndarray()
        return paced(av.VideoFrame.from_ndarray(still, format="yuv420p") for _ in repeat(None))

    watcher = Watcher()
    read(monkeypatch, frozen, watcher, frozen_timeout=0.3)
    assert watcher.states == ["connecting", "live", "stalled", "backoff", "stopped"]
    assert [change.reason for change in watcher.changes[2:4]] == [Reason.FROZEN, Reason.FROZEN]
    assert "frozen_timeout" in str(watcher.changes[2].detail)


def test_timestamps_that_stand_still_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def standing() -> Iterator[av.VideoFrame]:
        for picture in paced(pictures(1000)):
            picture.pts = 7
            yield picture

    watcher = Watcher()
    read(monkeypatch, standing, watcher, read_timeout=0.3)
    assert watcher.changes[-2].reason is Reason.STALLED
    assert watcher.changes[-2].detail.startswith("timestamps stand still at 7")


def test_a_camera_that_delivers_one_frame_and_dies_each_time_is_left_alone_ever_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingest.reconnect.FIRST_DELAY_S", 0.02)

    def dying() -> Iterator[av.VideoFrame]:
        yield from paced(pictures(1))
        raise SourceError(Reason.LOST, "gone")

    watcher = Watcher(backoffs=5)
    read(monkeypatch, dying, watcher)
    waits = [change.retry_in for change in watcher.changes if change.state is StreamState.BACKOFF]
    assert waits[4] > 6 * waits[0]


def test_packets_that_became_no_frame_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(source: Fake) -> Iterator[av.VideoFrame]:
        for number, picture in enumerate(paced(pictures(6))):
            source.packets.broken, source.packets.skipped, source.packets.late = number, 10 * number, 2 * number
            yield picture
        raise SourceError(Reason.LOST, "gone")

    @contextmanager
    def open_fake(config: object, gpu: int | None = None, calls: object = None) -> Iterator[Fake]:
        source = Fake(lambda: breaking(source))
        yield source

    monkeypatch.setattr(reader, "open_source", open_fake)
    shared, watcher = services(), Watcher(backoffs=2)
    StreamReader(order(), 0, FrameLedger(), FreeSlots(range(2)), shared).run(watcher, watcher.stop)
    counted = {
        outcome: shared.metrics.registry.get_sample_value("vigil_packets_total", {"stream": "gate", "outcome": outcome})
        for outcome in ("broken", "skipped", "late")
    }
    assert counted == {"broken": 10, "skipped": 100, "late": 20}


class Camera:
    """A source that gives a frame whenever a test asks for one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asked: Queue[av.VideoFrame | None] = Queue()

        @contextmanager
        def open_fake(config: object, gpu: int | None = None, calls: object = None) -> Iterator[Fake]:
            yield Fake(lambda: iter(self._asked.get, None))

        monkeypatch.setattr(reader, "open_source", open_fake)

    def send(self, pts: int) -> None:
        frame = next(pictures(1))
        frame.pts = pts
        self._asked.put(frame)

    def end(self) -> None:
        self._asked.put(None)


def decoded(stream: Stream) -> int:
    return sum(stream.ledger.balance()[0].values())


def test_a_stall_is_told_while_the_reader_waits_and_ends_with_the_next_new_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Camera(monkeypatch)
    shared = services()
    told = cast(Silent, shared.publisher).told
    stream = Stream(order(read_timeout=4), 0, range(2), shared)
    stream.start(MODEL, 0.25)
    try:
        camera.send(0)
        wait_for("the stream is live", lambda: told and told[-1].state == "live")
        now = time.monotonic_ns()
        stream.watch(now + 1 * NS)
        assert told[-1].state == "live"
        stream.watch(now + 3 * NS)
        assert (told[-1].state, told[-1].reason) == ("stalled", "stalled")
        assert told[-1].detail.startswith("no new picture for ")
        told_so_far = len(told)
        stream.watch(now + 4 * NS)
        assert len(told) == told_so_far  # once per change
        camera.send(0)  # not a new one
        wait_for("the second frame", lambda: decoded(stream) == 2)
        stream.watch(now + 4 * NS)
        assert len(told) == told_so_far
        camera.send(1)
        wait_for("the third frame", lambda: decoded(stream) == 3)
        stream.watch(time.monotonic_ns())
        assert told[-1].state == "live"
        assert told[-1].session == told[-2].session
        states = {state: shared.metrics.registry.get_sample_value(
            "vigil_stream_state", {"stream": "gate", "state": state}) for state in ("live", "stalled")}  # fmt: skip
        assert states == {"live": 1, "stalled": 0}
    finally:
        stream.stop()
        camera.end()
    wait_for("the reader has ended", lambda: not stream.reading)
    stream.watch(time.monotonic_ns() + 100 * NS)
    assert told[-1].state == "stopped"


def test_a_stream_that_waits_for_its_detector_is_not_called_unconnected() -> None:
    shared = services()
    stream = Stream(order(connect_timeout=1), 0, range(2), shared)
    stream.watch(time.monotonic_ns() + 60 * NS)
    assert cast(Silent, shared.publisher).told == []


def test_the_calls_of_a_source_are_told_to_the_activity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands for a camera here: what it reads and decodes through is the same."""
    seen: list[list[int]] = []
    activity = Activity.create(4)
    enter = Activity.enter

    def noting(self: Activity, number: int, now_ns: int, within_s: float) -> None:
        enter(self, number, now_ns, within_s)
        seen.append(self.overdue(now_ns + 3600 * NS))

    monkeypatch.setattr(Activity, "enter", noting)
    source = StreamConfig(url="scene://street")
    with open_source(source, calls=Calls(activity, 2)) as opened:
        next(iter(opened.frames()))
        assert activity.overdue(time.monotonic_ns() + 3600 * NS) == []
    assert activity.overdue(time.monotonic_ns() + 3600 * NS) == []
    assert seen and all(numbers == [2] for numbers in seen)


def test_a_connection_that_does_not_come_about_is_told_of_while_it_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(monkeypatch)  # sends nothing at first
    shared = services()
    told = cast(Silent, shared.publisher).told
    stream = Stream(order(connect_timeout=4), 0, range(2), shared)
    stream.start(MODEL, 0.25)
    try:
        wait_for("it connects", lambda: told and told[-1].state == "connecting")
        now = time.monotonic_ns()
        stream.watch(now + 3 * NS)
        assert told[-1].reason is None
        stream.watch(now + 5 * NS)
        assert (told[-1].state, told[-1].reason) == ("connecting", "timeout")
        told_so_far = len(told)
        stream.watch(now + 6 * NS)
        assert len(told) == told_so_far
        camera.send(0)
        wait_for("the stream is live", lambda: told[-1].state == "live")
    finally:
        stream.stop()
        camera.end()
    wait_for("the reader has ended", lambda: not stream.reading)
