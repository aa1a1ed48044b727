"""What objects look like by a ReID model, within a worker: computed beside the loop, joined to the frames in order."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import structlog

from inference.channel import Answer, Outcome
from inference.features import Features
from tracking.reid.config import is_file
from tracking.reid.model import ReidModel, load_reid, looks
from tracking.reid.onnx_file import ReidError
from tracking.reid.queue import OBJECTS, PATIENCE_S, ReidQueue, Request

if TYPE_CHECKING:
    from vigil.orders import StreamOrder
    from vigil.reader import Departed, Passage
    from vigil.services import Services

log = structlog.get_logger()


class Embedder:
    """Computes what objects look like for all streams of a worker that name one ReID model.

    `run` is a task in the worker's loop; the model computes in a thread of the loop's pool, one batch at a time, and so
    neither the loop nor streams without ReID wait for it. What is in the queue is touched in the loop only.
    """

    def __init__(self, path: Path, device: str, observe: Callable[[float], None]) -> None:
        """`device` is the detector's; `observe` hears of the seconds that a batch took."""
        self._path = path
        self._device = device
        self._observe = observe
        self._queue = ReidQueue()
        self._wanted = asyncio.Event()
        self._broken = False
        self.users = 0

    def ask(self, request: Request) -> None:
        """Hands in a frame; it, or one that has to make room for it, may be answered at once."""
        if self._broken:
            request.deliver(None)
            return
        given_up = self._queue.add(request)
        if given_up is not None:
            given_up.deliver(None)
        self._wanted.set()

    def withdraw(self, request: Request) -> None:
        """Nobody waits for the request any more."""
        self._queue.withdraw(request)

    async def run(self) -> None:
        """Loads the model and answers requests until cancelled. What cannot be computed leaves without features."""
        try:
            began = time.monotonic()
            model = await asyncio.to_thread(load_reid, self._path, self._device)
            log.info("ReID model ready", model=self._path.name, device=model.device, length=model.shape.length,
                     seconds=round(time.monotonic() - began, 2))  # fmt: skip
            while True:
                await self._wanted.wait()
                taken, late = self._queue.take(time.monotonic())
                for request in late:
                    request.deliver(None)
                if taken:
                    await self._compute(model, taken)
                else:
                    self._wanted.clear()
        except Exception as error:  # whatever a runtime raises must not hold frames back
            log.error("objects have no features: the ReID model fails", model=str(self._path),
                      error=str(error) if isinstance(error, ReidError) else repr(error))  # fmt: skip
            self._broken = True
            for request in self._queue.clear():
                request.deliver(None)

    async def _compute(self, model: ReidModel, taken: list[Request]) -> None:
        began = time.perf_counter()
        try:
            found = await asyncio.to_thread(looks, model, [(request.frame, request.boxes) for request in taken])
        except BaseException:
            for request in taken:
                request.deliver(None)
            raise
        seconds = time.perf_counter() - began
        self._observe(seconds)
        self._queue.took(sum(len(rows) for rows in found), seconds)
        for request, features in zip(taken, found, strict=True):
            request.deliver(features)


class Embedders:
    """The ReID models of a worker, each loaded once and while a stream uses it."""

    def __init__(self) -> None:
        self._running: dict[tuple[Path, str], tuple[Embedder, asyncio.Task[None]]] = {}

    def use(self, path: Path, device: str, observe: Callable[[float], None]) -> Embedder:
        key = path, device
        if key not in self._running:
            embedder = Embedder(path, device, observe)
            self._running[key] = embedder, asyncio.ensure_future(embedder.run())
        embedder = self._running[key][0]
        embedder.users += 1
        return embedder

    def leave(self, embedder: Embedder) -> None:
        embedder.users -= 1
        for key, (one, task) in list(self._running.items()):
            if one is embedder and not embedder.users:
                task.cancel()
                del self._running[key]


@dataclass(slots=True, eq=False)
class _Held:
    """A frame, or a mark between frames, that waits for its turn."""

    item: Passage
    answer: Answer | None
    ready: bool = True
    features: Features | None = None


class Appearance:
    """One stream's frames between the ledger and the tracker: with a ReID model they get their features here.

    They leave in the order in which they came. A live stream's leaves after `PATIENCE_S` at the latest, without
    features when there was no time; a stream that may lose no frame waits, and as it keeps its slots meanwhile, so does
    its reader.
    """

    def __init__(
        self, order: StreamOrder, services: Services, give_back: Callable[[int], None], drain: Callable[[], None]
    ) -> None:
        """`give_back` gets the slots that frames kept; `drain` is called in the loop when frames may leave."""
        self._stream = order.name
        self._model = Path(order.tracker.reid) if is_file(order.tracker.reid) else None
        self._patient = order.source.on_full == "block"
        self._embedders = services.embedders
        self._metrics = services.metrics
        self._give_back = give_back
        self._drain = drain
        self._embedder: Embedder | None = None
        self._confidence = 0.0
        self._held: deque[_Held] = deque()
        self._told = False

    def start(self, device: str, confidence: float) -> None:
        """From now on objects above `confidence` get features: weaker ones are not known again by their looks.

        `device` is the detector's, and the model's the same kind of one; it stays when there is another detector.
        """
        self._confidence = confidence
        if self._embedder is None and self._model is not None:
            observe = self._metrics.stage.labels("reid").observe
            self._embedder = self._embedders.use(self._model, device, observe)

    def stop(self) -> None:
        """What is held may leave without features, and no frame gets any from now on."""
        for held in self._held:
            held.ready = True
        if self._embedder is not None:
            self._embedders.leave(self._embedder)
        self._embedder = self._model = None

    @property
    def waiting(self) -> bool:
        """Whether frames are held."""
        return bool(self._held)

    def keeps(self, answer: Answer) -> bool:
        """Whether the answered frame keeps its slot until it leaves."""
        return self._patient and self._embedder is not None and answer.outcome is Outcome.ANALYSED

    def through(
        self, released: Iterable[tuple[Passage, Answer | None]]
    ) -> Iterator[tuple[Passage, Answer | None, Features | None]]:
        """Takes what the ledger has released, and gives what may go on, with the features of its objects."""
        for item, answer in released:
            held = _Held(item, answer)
            self._held.append(held)
            if self._embedder is not None and answer is not None:  # only frames that departed are answered
                self._ask(self._embedder, held, cast("Departed", item), answer)
        while self._held and self._held[0].ready:
            held = self._held.popleft()
            if held.answer is not None and self.keeps(held.answer):
                self._give_back(held.answer.slot)
            yield held.item, held.answer, held.features

    def _ask(self, embedder: Embedder, held: _Held, departed: Departed, answer: Answer) -> None:
        rows = answer.found.rows
        chosen = np.flatnonzero(rows[:, 4] > self._confidence)[:OBJECTS]
        if answer.outcome is not Outcome.ANALYSED or not len(chosen):
            return
        held.ready = False
        boxes = departed.letterbox.to_source(rows[chosen, :4])
        loop = asyncio.get_running_loop()

        def deliver(features: Features | None) -> None:
            if timer is not None:
                timer.cancel()
            if held.ready:
                return  # it has gone on
            held.ready = True
            if features is not None:
                held.features = np.zeros((len(rows), features.shape[1]), np.float32)
                held.features[chosen[: len(features)]] = features
            self._note(features is not None)
            loop.call_soon(self._drain)

        def expire() -> None:
            embedder.withdraw(request)
            deliver(None)

        request = Request(self._stream, departed.frame, boxes, time.monotonic(), self._patient, deliver)
        timer = None if self._patient else loop.call_later(PATIENCE_S, expire)
        embedder.ask(request)

    def _note(self, known: bool) -> None:
        self._metrics.tracking.reid_frames.labels(self._stream, "features" if known else "none").inc()
        if not known and not self._told:
            self._told = True
            log.warning("frames leave without features: the ReID model is not ready or has no time for all",
                        stream=self._stream)  # fmt: skip
