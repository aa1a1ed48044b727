"""With ReID, frames of a stream still leave in order and complete, and nobody waits for features for long."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from inference import channel
from inference.channel import Answer, Outcome
from inference.config import DetectorConfig
from inference.detections import Detections
from inference.detector import Detector
from inference.found import Found
from inference.letterbox import Letterbox
from ingest.activity import Activity
from ingest.clock import Clock
from ingest.frame import Frame
from ingest.ledger import Fate
from ingest.ring import Ring
from publish.publisher import Publisher
from tracking.config import TrackerConfig
from tracking.reid import queue
from tracking.reid.onnx_file import ReidError, ReidShape
from tracking.trackers.bytetrack import ByteTracker
from tracking.tracks import Tracks
from vigil import appearance, stream
from vigil.appearance import Appearance, Embedder, Embedders
from vigil.config import StreamConfig
from vigil.detector import load
from vigil.layout import DetectorPlace, detectors_of
from vigil.link import DetectorLink
from vigil.load import parse
from vigil.orders import StreamOrder
from vigil.reader import Departed, SessionStart
from vigil.services import Services, WorkerMetrics
from vigil.stream import Stream
from vigil.worker import WARM_UPS

SIZE, SLOTS, CONFIDENCE, WAIT_S = 320, 4, 0.25, 90.0
Found_ = tuple[int, Detections]


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The starter, which also gives features to those who want them; all that is compiled is."""
    for warm_up in WARM_UPS:
        warm_up()
    config = DetectorConfig(model="starter", runtime="openvino", device="cpu", image_size=SIZE, confidence=0.1)
    detector = load(config, CollectorRegistry(), tested=True, features=True)
    threads = [threading.Thread(target=run, daemon=True) for run in (detector.run_preparing, detector.run_inference)]
    for thread in threads:
        thread.start()
    return detector


class Recorder:
    """A publisher that keeps what it gets."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.results: list[Any] = []

    def status(self, status: Any) -> None:
        self.states.append(status.state)

    def frame_result(self, result: Any) -> None:
        self.results.append(result)

    def event(self, event: Any) -> None: ...


class Spy(ByteTracker):
    """The tracker, which notes what it was given, by stream."""

    given: dict[str, list[Found_]]

    def update(self, detections: Detections, frame: Frame) -> Tracks:
        self.given.setdefault(frame.stream, []).append((frame.seq, detections))
        return super().update(detections, frame)


@dataclass
class Worker:
    """Streams, a link to the detector and the loop, without processes."""

    services: Services
    recorder: Recorder
    given: dict[str, list[Found_]]
    streams: list[Stream] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def fates(self, number: int = 0) -> dict[Fate, int]:
        fates, in_flight = self.streams[number].ledger.balance()
        assert in_flight == 0
        return fates

    def reid_frames(self, outcome: str) -> float:
        labels = {"stream": "s0", "outcome": outcome}
        return self.services.metrics.registry.get_sample_value("vigil_reid_frames_total", labels) or 0.0


@asynccontextmanager
async def worker(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, *orders: tuple[StreamConfig, str]
) -> AsyncIterator[Worker]:
    """Streams `s0`, `s1` … that read these sources with these `reid` settings."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ring = Ring.create(SLOTS * len(orders), 3 * SIZE * SIZE)
    link = DetectorLink(ours, ring, detector.runtime.info)
    peer = detector.attach("worker", theirs)
    ends = threading.Event()

    def serve() -> None:
        while not ends.is_set():
            if select.select([theirs], [], [], 0.05)[0]:
                detector.read(peer)

    reading = threading.Thread(target=serve, daemon=True)
    reading.start()
    given: dict[str, list[Found_]] = {}
    monkeypatch.setattr(Spy, "given", given, raising=False)
    monkeypatch.setattr(stream, "new_tracker", Spy)
    recorder, loop = Recorder(), asyncio.get_running_loop()
    services = Services(
        site="test", activity=Activity.create(len(orders)), publisher=cast(Publisher, recorder),
        metrics=WorkerMetrics(), link=lambda: link, call=loop.call_soon_threadsafe, report=lambda *_: None,
    )  # fmt: skip
    made = Worker(services, recorder, given)
    for number, (source, reid) in enumerate(orders):
        order = StreamOrder(name=f"s{number}", source=source, tracker=TrackerConfig(reid=reid), config_rev="0")
        slots = range(number * SLOTS, (number + 1) * SLOTS)
        made.streams.append(Stream(order, number, slots, services))

    def read_answer() -> None:
        try:
            data = ours.recv(channel.MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        answer = channel.unpack_answer(data)
        made.answers.append(answer)
        made.sizes.append(len(data))
        made.streams[answer.stream].answered(answer)

    loop.add_reader(ours, read_answer)
    for one in made.streams:
        one.start(detector.runtime.info, CONFIDENCE)
    yield made
    loop.remove_reader(ours)
    for one in made.streams:
        one.stop()
        one.finish()
    ends.set()
    reading.join(10)
    detector.detach(peer)
    link.close()
    ring.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


def campus(data: Path, **settings: Any) -> StreamConfig:
    return StreamConfig(url=str(data / "mot/MOT15/TUD-Campus/TUD-Campus.mp4"), pace="fast", **settings)


def osnet(data: Path) -> str:
    return str(data / "weights/osnet_x0_25_msmt17.onnx")


def assert_known(detections: Detections, confidence: float) -> None:
    """Objects above the confidence have features of length 1, and others none."""
    assert detections.features is not None
    lengths = np.linalg.norm(detections.features, axis=1)
    strong = detections.scores > confidence
    assert np.allclose(lengths[strong], 1, atol=1e-3)
    assert not lengths[~strong].any()


@pytest.mark.parametrize("reid", ["off", "detector", "file"])
def test_a_file_is_analysed_whole_and_in_order(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, data: Path, reid: str
) -> None:
    async def run() -> None:
        order = campus(data, on_full="block"), osnet(data) if reid == "file" else reid
        async with worker(detector, monkeypatch, order) as made:
            await until(lambda: "ended" in made.recorder.states and made.streams[0].settled())
        given = made.given["s0"]
        assert [seq for seq, _ in given] == list(range(71))
        assert [result.seq for result in made.recorder.results] == list(range(71))
        assert made.fates() == {Fate.ANALYSED: 71}
        some = [detections for _, detections in given if (detections.scores > CONFIDENCE).any()]
        assert len(some) > 20, "it finds people"
        if reid == "off":
            assert all(detections.features is None for _, detections in given)
            head = len(channel.pack_answer(Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, Found(np.zeros((0, 6))))))
            assert made.sizes == [head + answer.found.rows.nbytes for answer in made.answers]
        for detections in some if reid != "off" else []:
            assert_known(detections, 0.0 if reid == "detector" else CONFIDENCE)
        known = len(some) if reid == "file" else 0
        assert (made.reid_frames("features"), made.reid_frames("none")) == (known, 0)

    asyncio.run(run())


class Stuck:
    """A model that is computing until it is let go."""

    shape, device = ReidShape("images", 256, 128, 512), "cpu"

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.let_go.wait(WAIT_S)
        return np.ones((len(crops), 512), np.float32)


def test_a_model_that_hangs_holds_nobody_up(detector: Detector, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    stuck = Stuck()
    monkeypatch.setattr(appearance, "load_reid", lambda path, device: stuck)
    monkeypatch.setattr(appearance, "PATIENCE_S", 0.05)

    async def run() -> None:
        hangs, goes_on = (campus(data, loop=True), osnet(data)), (campus(data, loop=True), "off")
        async with worker(detector, monkeypatch, hangs, goes_on) as made:
            await until(lambda: len(made.given.get("s0", ())) > 20 and len(made.given.get("s1", ())) > 20)
            for one in made.streams:
                one.stop()
            await until(lambda: all(one.settled() for one in made.streams))
            stuck.let_go.set()
        for name, number in (("s0", 0), ("s1", 1)):
            seqs = [result.seq for result in made.recorder.results if result.stream == name]
            assert len(seqs) == made.fates(number)[Fate.ANALYSED]
        assert all(detections.features is None for _, detections in made.given["s0"])
        some = [detections for _, detections in made.given["s0"] if (detections.scores > CONFIDENCE).any()]
        assert (made.reid_frames("features"), made.reid_frames("none")) == (0, len(some))

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_is_told_and_frames_go_on(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    def fails(path: Path, device: str) -> None:
        raise ReidError("no such operation")

    monkeypatch.setattr(appearance, "load_reid", fails)

    async def run() -> None:
        async with worker(detector, monkeypatch, (campus(data, on_full="block"), osnet(data))) as made:
            await until(lambda: "ended" in made.recorder.states and made.streams[0].settled())
        assert made.fates() == {Fate.ANALYSED: 71}
        assert all(detections.features is None for _, detections in made.given["s0"])

    asyncio.run(run())


# -- one stream's frames between ledger and tracker


class Asked:
    """`Embedders` whose answers a test gives."""

    def __init__(self) -> None:
        self.requests: list[queue.Request] = []
        self.withdrawn: list[queue.Request] = []

    def use(self, *_: Any) -> Embedder:
        return cast(Embedder, self)

    def leave(self, embedder: Embedder) -> None: ...

    def ask(self, request: queue.Request) -> None:
        self.requests.append(request)

    def withdraw(self, request: queue.Request) -> None:
        self.withdrawn.append(request)


def departed(seq: int) -> Departed:
    frame = Frame("s0", 1, seq, 0, 0, 0, Clock.ARRIVAL, None, av.VideoFrame(64, 64, "yuv420p"))
    return Departed(frame, Letterbox.fit(64, 64, 64), slot=seq)


def answered(seq: int, scores: list[float], outcome: Outcome = Outcome.ANALYSED) -> Answer:
    rows = np.array([[0, 0, 20, 40, score, 0] for score in scores], np.float32).reshape(-1, 6)
    return Answer(seq, 0, outcome, 1, seq, 0.0, 0.0, Found(rows))


def between(on_full: str) -> tuple[Appearance, Asked, list[int], list[None]]:
    """A stream's part of that kind, who it asks, the slots it gives back and how often it wants to be drained."""
    asked, slots, drains = Asked(), list[int](), list[None]()
    services = Services(
        site="test", activity=Activity.create(1), publisher=cast(Publisher, None), metrics=WorkerMetrics(),
        link=lambda: None, call=lambda *_: None, report=lambda *_: None, embedders=cast(Any, asked),
    )  # fmt: skip
    source = StreamConfig(url="x.mp4", on_full=cast(Any, on_full))
    order = StreamOrder(name="s0", source=source, tracker=TrackerConfig(reid="x.onnx"), config_rev="0")
    made = Appearance(order, services, slots.append, lambda: drains.append(None))
    made.start("cpu", CONFIDENCE)
    return made, asked, slots, drains


@pytest.mark.parametrize("on_full", ["drop", "block"])
def test_frames_leave_in_order_whatever_is_known_first(on_full: str) -> None:
    async def run() -> None:
        made, asked, slots, drains = between(on_full)
        start = SessionStart(1, 25.0)
        items = [(departed(seq), answered(seq, scores)) for seq, scores in enumerate([[0.9, 0.1], [], [0.5, 0.4]])]
        assert list(made.through([(start, None), *items])) == [(start, None, None)]
        assert [len(request.boxes) for request in asked.requests] == [1, 2], "weak boxes and empty frames need none"
        assert made.waiting and not slots
        asked.requests[1].deliver(np.eye(1, 4, dtype=np.float32))  # there was time for the surest only
        assert list(made.through([])) == []
        asked.requests[0].deliver(np.ones((1, 4), np.float32) / 2)
        await asyncio.sleep(0)
        assert len(drains) == 2, "and the stream is told each time that frames may leave"
        left = list(made.through([]))
        assert [item.frame.seq for item, _, _ in left if isinstance(item, Departed)] == [0, 1, 2]
        first, second, third = (features for _, _, features in left)
        assert first is not None and np.array_equal(first, [[0.5] * 4, [0] * 4])
        assert second is None
        assert third is not None and np.array_equal(third, [[1, 0, 0, 0], [0] * 4])
        assert slots == ([0, 1, 2] if on_full == "block" else []), "others' were given back when they were answered"
        assert not made.waiting

    asyncio.run(run())


def test_a_live_frame_goes_on_without_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearance, "PATIENCE_S", 0.01)

    async def run() -> None:
        made, asked, _, drains = between("drop")
        item = departed(0)
        assert list(made.through([(item, answered(0, [0.9]))])) == []
        await until(lambda: bool(drains))
        assert asked.withdrawn == asked.requests
        ((left, _, features),) = made.through([])
        assert (left, features) == (item, None)
        asked.requests[0].deliver(np.ones((1, 4), np.float32))  # too late
        assert list(made.through([])) == []

    asyncio.run(run())


def test_what_was_not_analysed_does_not_wait() -> None:
    async def run() -> None:
        made, asked, slots, _ = between("block")
        lost = [(departed(0), None), (departed(1), answered(1, [0.9], Outcome.ERROR))]
        assert len(list(made.through(lost))) == 2
        assert not asked.requests and not slots

    asyncio.run(run())


def test_at_the_end_of_a_stream_what_is_held_leaves() -> None:
    async def run() -> None:
        made, _, _, _ = between("block")
        assert list(made.through([(departed(0), answered(0, [0.9]))])) == []
        made.stop()
        assert len(list(made.through([(departed(1), answered(1, [0.9]))]))) == 2
        assert not made.waiting

    asyncio.run(run())


# -- all streams of a worker


def request(name: str, deliver: Callable[[NDArray[np.float32] | None], None], patient: bool = True) -> queue.Request:
    box = np.array([[0, 0, 20, 40]], np.float32)
    return queue.Request(name, departed(0).frame, box, time.monotonic(), patient, deliver)


class Gated(Stuck):
    """A model that notes how many crops come at once, and whose first batch is computed when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append(len(crops))
        return super().embed(crops)


def test_what_waits_in_several_streams_is_computed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    gated, loads, got = Gated(), list[Path](), list[Any]()
    monkeypatch.setattr(appearance, "load_reid", lambda path, device: loads.append(path) or gated)

    async def run() -> None:
        embedders = Embedders()
        users = [embedders.use(Path("x.onnx"), "cpu", lambda _: None) for _ in range(3)]
        users[0].ask(request("a", got.append))
        await until(lambda: gated.batches == [1])
        for name, user in zip("abc", users, strict=True):
            user.ask(request(name, got.append))
        gated.let_go.set()
        await until(lambda: len(got) == 4)
        assert (gated.batches, loads) == ([1, 3], [Path("x.onnx")])
        assert all(np.linalg.norm(rows) == pytest.approx(1) for rows in got)

    asyncio.run(run())


def test_a_live_stream_that_is_too_fast_hears_at_once_what_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    gated, got = Gated(), dict[int, Any]()
    monkeypatch.setattr(appearance, "load_reid", lambda path, device: gated)
    monkeypatch.setattr(queue, "BEGIN_S", WAIT_S)  # however busy the machine is

    async def run() -> None:
        user = Embedders().use(Path("x.onnx"), "cpu", lambda _: None)
        user.ask(request("a", lambda rows: got.update({0: rows}), patient=False))
        await until(lambda: gated.batches == [1])
        for number in range(1, queue.WAITING + 2):
            user.ask(request("a", lambda rows, number=number: got.update({number: rows}), patient=False))
        assert got == {1: None}
        gated.let_go.set()
        await until(lambda: len(got) == queue.WAITING + 2)
        assert [number for number, rows in sorted(got.items()) if rows is None] == [1]

    asyncio.run(run())


def test_a_model_that_fails_while_it_computes_lets_all_frames_go(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Stuck):
        def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
            raise RuntimeError("out of memory")

    got: list[Any] = []
    monkeypatch.setattr(appearance, "load_reid", lambda path, device: Failing())

    async def run() -> None:
        user = Embedders().use(Path("x.onnx"), "cpu", lambda _: None)
        for _ in range(40):  # more than a batch
            user.ask(request("a", got.append))
        await until(lambda: len(got) == 40)
        user.ask(request("a", got.append))
        assert got == [None] * 41, "and nobody waits from then on"

    asyncio.run(run())


def test_a_model_that_no_stream_uses_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appearance, "load_reid", lambda path, device: Gated())

    async def run() -> None:
        embedders, before = Embedders(), asyncio.all_tasks()
        users = [embedders.use(Path("x.onnx"), "cpu", lambda _: None) for _ in range(2)]
        assert users[0] is users[1]
        embedders.leave(users[0])
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks() - before) == 1
        embedders.leave(users[1])
        await until(lambda: asyncio.all_tasks() == before)

    asyncio.run(run())


# -- what a config asks of detectors


def test_a_detector_gives_features_when_one_of_its_streams_wants_them(tmp_path: Path) -> None:
    def place(yard: str) -> DetectorPlace:
        tracker = f"{{kind: botsort, reid: {yard}}}"
        text = f"streams:\n  gate: {{url: 'rtsp://x/y'}}\n  yard: {{url: 'rtsp://x/z', tracker: {tracker}}}\n"
        ((one,),) = detectors_of(parse(text, "test", tmp_path)).values()
        return one

    plain, wanted = place("off"), place("detector")
    assert (plain.features, wanted.features) == (False, True)
    assert not plain.serves_as(wanted)
    assert place("detector").serves_as(wanted)
