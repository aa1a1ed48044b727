"""Frames that the detector is not asked about on their way through a worker: counted, in order, not prepared for it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from queue import Empty, Queue
from typing import Any, cast

import av
import numpy as np
import pytest

from inference import channel
from inference.channel import Answer, Outcome
from inference.found import Found
from inference.input import InputSpec
from inference.model import ModelInfo
from ingest.activity import Activity
from ingest.ledger import MOST_PASSING, Fate, FrameLedger
from ingest.ring import Ring
from ingest.sources.packets import PacketCounts
from publish.preview.gallery import Gallery
from publish.preview.link import PreviewLink
from publish.preview.wire import Said, Seen, Video, Watch
from publish.publisher import Publisher
from tests.ingest.scenery import Box, Scenery
from tracking.config import TrackerConfig
from vigil import reader
from vigil.config import StreamConfig
from vigil.link import DetectorLink
from vigil.orders import StreamOrder
from vigil.services import Services, WorkerMetrics
from vigil.stream import FATES, Stream

SIZE = (320, 160)
MODEL = ModelInfo("m", "0" * 16, ("thing",), "yolo", InputSpec(), 320, "openvino", "cpu", "fp32")
FRAMES = 200


def there(n: int) -> list[Box]:
    """Something that stands, and something that passes by from frame 100 on."""
    x = 4.0 * (n - 100)
    passing: list[Box] = [(x, 20, x + 30, 70)] if 100 <= n < 170 else []
    return [(200, 90, 260, 130), *passing]


class Shown:
    """A source of a scene whose things are `there`."""

    frame_rate, decode_s, description, decoder, fallback = 25.0, 0.0, "scene", "cpu", None

    def __init__(self) -> None:
        self.packets = PacketCounts()

    def frames(self) -> Iterator[av.VideoFrame]:
        scenery = Scenery(SIZE, noise=1.0)
        for n in range(FRAMES):
            image = scenery.frame(n, there(n))._native
            image.pts, image.time_base = n, Fraction(1, 25)
            yield image


class Heard:
    """A publisher that keeps what it is told."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []
        self.events: list[Any] = []

    def frame_result(self, result: Any) -> None:
        self.results.append(json.loads(result.model_dump_json()))

    def event(self, event: Any) -> None:
        self.events.append(event)

    def status(self, status: Any) -> None:
        pass


class Viewers:
    """Keep what they are sent."""

    def __init__(self) -> None:
        self.sent: list[Said] = []

    def send(self, said: Said) -> bool:
        self.sent.append(said)
        return True


class Ran:
    """A stream that ran to its end: what was heard of it, its books, how many frames were made ready, and what was
    sent to who watched."""

    def __init__(self, heard: Heard, stream: Stream, metrics: WorkerMetrics, asked: int, sent: list[Said]) -> None:
        self.sent = sent
        self.results, self.events, self.asked = heard.results, heard.events, asked
        self.fates, self.in_flight = stream.ledger.balance()
        counted = metrics.registry.get_sample_value("vigil_stage_seconds_count", {"stage": "letterbox"})
        self.letterboxed = int(counted or 0)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """Runs a stream of `Shown` with these settings, the test's thread being the worker's loop and the detector.

    `answers`: what becomes of each frame that is asked about; `watch`: how it is watched; `hiccup_s`: for how long the
    loop does nothing once it has told some results.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    @contextmanager
    def open_shown(config: object, gpu: int | None = None, calls: object = None) -> Iterator[Shown]:
        yield Shown()

    monkeypatch.setattr(reader, "open_source", open_shown)

    def go(
        answers: Callable[[int], Outcome] = lambda _: Outcome.ANALYSED, watch: Watch | None = None,
        hiccup_s: float = 0.0, **settings: Any
    ) -> Ran:  # fmt: skip
        heard, metrics, calls = Heard(), WorkerMetrics(), Queue[Callable[[], None]]()

        def call(function: Callable[..., None], *given: Any) -> None:
            calls.put(lambda: function(*given))

        gallery, viewers = Gallery(metrics.preview, lambda _: None, call), Viewers()
        gallery._link = cast(PreviewLink, viewers)
        if watch is not None:
            gallery._hear(watch)
        link = DetectorLink(ours, Ring.create(4, 3 * 320 * 320), MODEL)
        channel.receive_hello(theirs)
        services = Services(
            site="test", activity=Activity.create(1), publisher=cast(Publisher, heard), metrics=metrics,
            link=lambda: link, call=call, report=lambda *_: None, gallery=gallery,
        )  # fmt: skip
        source = StreamConfig(url="shown.mp4", pace="fast", on_full="block", **settings)
        stream = Stream(
            StreamOrder(name="gate", source=source, tracker=TrackerConfig(), config_rev="0"), 0, range(4), services
        )
        stream.start(MODEL, 0.25)
        asked, ends = 0, time.monotonic() + 60
        frames: dict[int, int] = {}  # of each ticket
        while stream.reading or not calls.empty() or stream.ledger.unsettled():
            assert time.monotonic() < ends
            if hiccup_s and len(heard.results) > 10:
                time.sleep(hiccup_s)
                hiccup_s = 0.0
            with suppress(Empty):
                calls.get(timeout=0.002)()
            try:
                filled = channel.unpack_filled(theirs.recv(channel.MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT))
            except BlockingIOError:
                continue
            with stream.ledger._lock:
                frames[filled.seq] = stream.ledger._entries[filled.seq].item.frame.seq
            boxes = there(frames[filled.seq])
            rows = np.array([[*box, 0.9, 0] for box in boxes], np.float32).reshape(-1, 6)
            outcome = answers(asked)
            asked += 1
            stream.answered(Answer(filled.slot, 0, outcome, 1, filled.seq, 0.0, 0.0, Found(rows)))
        stream.finish()
        return Ran(heard, stream, metrics, asked, viewers.sent)

    yield go
    theirs.close()


@pytest.mark.parametrize("mode", ["motion", "adaptive"])
def test_frames_add_up_and_leave_in_order_and_those_not_asked_about_are_not_made_ready(
    run: Callable[..., Ran], mode: str
) -> None:
    ran = run(attention=mode)
    skipped = ran.fates[Fate.SKIPPED_MOTION] + ran.fates.get(Fate.SKIPPED_ADAPTIVE, 0)
    assert ran.fates[Fate.ANALYSED] + skipped == FRAMES and ran.in_flight == 0
    assert ran.asked == ran.letterboxed == ran.fates[Fate.ANALYSED] < FRAMES / 2
    assert (Fate.SKIPPED_ADAPTIVE in ran.fates) == (mode == "adaptive")
    seqs = [result["seq"] for result in ran.results]
    assert seqs == sorted(set(seqs))
    assert sum(result.get("analysed", True) for result in ran.results) == ran.asked


@pytest.mark.parametrize("mode", ["motion", "adaptive"])
def test_results_go_on_for_frames_that_are_not_analysed(run: Callable[..., Ran], mode: str) -> None:
    ran = run(attention=mode)
    assert [result["seq"] for result in ran.results[5:]] == list(range(ran.results[5]["seq"], FRAMES))
    for result in ran.results[5:]:
        standing = next(seen for seen in result["objects"] if seen["track_id"] == 1)
        assert standing["box"] == pytest.approx([200, 90, 260, 130], abs=4)
    started = [event.track_id for event in ran.events if event.type == "track.started"]
    assert started == [1, 2]


def test_a_loop_that_is_kept_busy_loses_no_result_of_a_stream_that_may_wait(run: Callable[..., Ran]) -> None:
    ran = run(attention="motion", hiccup_s=0.3)
    assert [result["seq"] for result in ran.results[5:]] == list(range(ran.results[5]["seq"], FRAMES))


def test_off_asks_about_every_frame_and_says_nothing_new(run: Callable[..., Ran]) -> None:
    ran = run()
    assert ran.fates == {Fate.ANALYSED: FRAMES}
    assert ran.letterboxed == FRAMES
    assert [result["seq"] for result in ran.results] == list(range(FRAMES))
    assert not any("analysed" in result for result in ran.results)


def test_off_looks_at_no_picture(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the gate looked")

    monkeypatch.setattr("ingest.motion.MotionGate.look", forbidden)
    monkeypatch.setattr("tracking.trackers.bytetrack.ByteTracker.coast", forbidden)
    assert run(attention=False).fates == {Fate.ANALYSED: FRAMES}


def test_a_frame_that_the_detector_fails_on_is_made_up_for(run: Callable[..., Ran]) -> None:
    failing = run(answers=lambda n: Outcome.ERROR if n < 3 else Outcome.ANALYSED, attention="motion")
    assert failing.fates[Fate.DROPPED_ERROR] == 3
    assert failing.results[0]["seq"] == 3


def test_sampling_comes_first(run: Callable[..., Ran]) -> None:
    ran = run(attention="motion", fps=5)
    assert ran.fates[Fate.SKIPPED_SAMPLE] == FRAMES * 4 // 5
    assert sum(ran.fates.values()) == FRAMES


def test_frames_that_pass_by_wait_for_those_before_them_and_too_many_are_only_counted() -> None:
    ledger = FrameLedger[int, None]()
    ticket = ledger.depart(0)
    entered = [ledger.pass_by(n, Fate.SKIPPED_MOTION) for n in range(1, MOST_PASSING + 4)]
    assert entered == [True] * MOST_PASSING + [False] * 3
    assert ledger.release() == []
    fates, in_flight = ledger.balance()
    assert (fates, in_flight) == ({Fate.SKIPPED_MOTION: MOST_PASSING + 3}, 1)
    ledger.settle(ticket, FATES[Outcome.ANALYSED])
    assert [item for item, _ in ledger.release()] == list(range(MOST_PASSING + 1))
    assert ledger.pass_by(99, Fate.SKIPPED_MOTION)


WATCH = Watch("gate", "burned", 320, 1000.0, 500_000)


def test_who_watches_a_scene_at_which_nobody_looks_sees_it_all_the_same(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.there", lambda n: [])  # nothing is there, and nothing moves
    alone, watched = run(attention="motion"), run(attention="motion", watch=WATCH)
    shown = {one.pts for one in watched.sent if isinstance(one, Video)}
    assert shown - {result["seq"] for result in watched.results}  # not only frames that the detector saw
    assert watched.fates[Fate.ANALYSED] + watched.fates[Fate.SKIPPED_MOTION] == FRAMES
    assert not alone.sent and not any(result["objects"] for result in watched.results)


def test_who_watches_is_told_of_every_frame_in_order_what_everybody_is(run: Callable[..., Ran]) -> None:
    ran = run(attention="motion", watch=WATCH)
    seen = [one for one in ran.sent if isinstance(one, Seen)]
    assert [one.pts for one in seen] == [result["seq"] for result in ran.results]
    assert [json.loads(one.result)["objects"] for one in seen] == [result["objects"] for result in ran.results]
