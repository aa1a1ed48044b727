"""One stream within its worker: answers from the detector become tracks, messages and events. Runs in the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from functools import partial
from typing import Any

import structlog

from inference.channel import Answer, Outcome
from inference.detections import Detections
from inference.model import ModelInfo
from ingest.clock import NS
from ingest.errors import Reason, VigilError
from ingest.ledger import Fate, FrameLedger
from ingest.reconnect import StreamState
from ingest.ring import FreeSlots
from ingest.sources.whip import Handover
from ingest.webrtc.desk import Desk
from ingest.webrtc.encoded import DecoderWatch
from publish.schema import Composer
from tracking.events import Event
from tracking.lifecycle import Lifecycle
from tracking.trackers import Tracker, new_tracker
from vigil.orders import StreamOrder
from vigil.reader import Departed, Ledger, SessionEnd, SessionStart, StateChange, StreamReader
from vigil.services import Services

log = structlog.get_logger()

FATES = {
    Outcome.ANALYSED: Fate.ANALYSED,
    Outcome.REPLACED: Fate.DROPPED_STALE,
    Outcome.ERROR: Fate.DROPPED_ERROR,
}


class NotReadingError(VigilError):
    """The stream has not started, or stops."""

    code = "stream.not_reading"


class UnknownQuestionError(VigilError):
    """Nothing in this stream answers that."""

    code = "stream.unknown_question"


class Stream:
    """Owns a stream's ledger, ring slots, tracker and reader thread."""

    def __init__(self, order: StreamOrder, number: int, slots: range, services: Services) -> None:
        self.name = order.name
        self.number = number
        self._config_rev = order.config_rev
        self.ledger: Ledger = FrameLedger()
        self._tracker_config = order.tracker
        self._zones, self._lines = order.source.zones, order.source.lines
        self._slots = FreeSlots(slots)
        self._services = services
        publishers = order.source.scheme == "whip"
        self._handover = Handover(partial(self.ledger.count, Fate.DROPPED_STALE)) if publishers else None
        self._desk = (
            Desk(order.name, order.source, self._handover, DecoderWatch(services.activity, number))
            if self._handover
            else None
        )
        self._reader = StreamReader(order, number, self.ledger, self._slots, services, self._handover)
        self._stop = threading.Event()
        self._closing: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        self._told, self._told_ns = StateChange(StreamState.CONNECTING), time.monotonic_ns()
        self._connect_timeout_s = order.source.connect_timeout
        self._live = self._told
        self._composer: Composer | None = None
        self._described: tuple[ModelInfo, float] | None = None  # the detector's model and least confidence
        self._tracker: Tracker | None = None
        self._lifecycle: Lifecycle | None = None
        self._finished = False
        metrics = services.metrics
        metrics.ingest.ledgers.add(order.name, self.ledger)
        self._track_seconds, self._publish_seconds = metrics.stage.labels("track"), metrics.stage.labels("publish")
        self._end_to_end_seconds = metrics.publish.end_to_end.labels(order.name)
        self._tracks_active = metrics.tracking.active.labels(order.name)
        self._zone_objects, self._line_crossings = metrics.tracking.zone_objects, metrics.tracking.line_crossings

    # -- the reader thread

    def start(self, model: ModelInfo, confidence: float) -> None:
        """Starts reading; with another detector, or one that restarted, it only takes note of the model.

        `confidence` is the least score of a reported box that belongs to no track; the detector may send weaker ones,
        for the tracker.
        """
        self._described = model, confidence
        self._compose()
        for name, rule in [*self._zones.items(), *self._lines.items()]:
            if strange := sorted(set(rule.classes or ()) - set(model.names)):
                log.warning("the model has no such class", stream=self.name, rule=name, classes=strange)
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name=f"read {self.name}", daemon=True)
            self._thread.start()

    def revise(self, config_rev: str) -> None:
        """What applies to the stream has another name from now on."""
        self._config_rev = config_rev
        self._compose()

    def _compose(self) -> None:
        if self._described is not None:
            model, confidence = self._described
            self._composer = Composer(self._services.site, model, self._config_rev, confidence)

    def _read(self) -> None:
        self._services.activity.read_by(self.number, threading.get_ident())
        self._reader.run(self, self._stop)

    def stop(self) -> None:
        """Asks the reader to end; a blocked FFmpeg call may keep it for up to the read time-out."""
        self._stop.set()
        if self._handover is not None and self._desk is not None:
            self._handover.close()
            self._closing = asyncio.ensure_future(self._desk.close())

    @property
    def reading(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def settled(self) -> bool:
        """Whether its reader has ended and the detector has nothing of it: its number and slots are free."""
        return not self.reading and not self.ledger.unsettled()

    def finish(self) -> None:
        """Ends the current session's tracks and falls silent: the reader may be stuck and never say that it ended."""
        self.drain()
        self._end_session()
        self._finished = True

    # -- what the supervisor asks

    async def answer(self, question: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answers a question about this stream.

        Raises:
            VigilError: the answer is no.
        """
        if not self.reading:
            raise NotReadingError(f"stream {self.name!r} is not read yet")
        match question, self._desk:
            case "whip.offer", Desk() as desk:
                return await desk.offer(**asked)
            case "whip.trickle", Desk() as desk:
                return await desk.trickle(**asked)
            case "whip.end", Desk() as desk:
                return await desk.end(**asked)
        raise UnknownQuestionError(f"stream {self.name!r} cannot be asked {question!r}")

    # -- what the reader tells

    def watch(self, now_ns: int) -> None:
        """Tells that the session stalls, or does no longer; the reader may be waiting for the camera and cannot."""
        if self._told.state is StreamState.CONNECTING and self._told.reason is None:
            waited_s = (now_ns - self._told_ns) / NS
            if waited_s > self._connect_timeout_s and self._handover is None:  # publishers may come at any time
                detail = f"not connected after {waited_s:.1f} s"
                self.state_changed(StateChange(StreamState.CONNECTING, reason=Reason.TIMEOUT, detail=detail))
            return
        pulse = self._reader.pulse
        if pulse is None or self._told.state not in (StreamState.LIVE, StreamState.STALLED):
            return
        stall = pulse.stall(now_ns)
        if stall and self._told.state is StreamState.LIVE:
            session = self._live.session
            self.state_changed(StateChange(StreamState.STALLED, session, Reason.STALLED, stall))
        elif not stall and self._told.state is StreamState.STALLED:
            self.state_changed(self._live)

    def state_changed(self, change: StateChange) -> None:
        if self._finished:
            return
        self._told, self._told_ns = change, time.monotonic_ns()
        if change.state is StreamState.LIVE:
            self._live = change
        metrics = self._services.metrics.ingest
        for state in StreamState:
            metrics.state.labels(self.name, state.value).set(state is change.state)
        details = {
            "session": change.session,
            "reason": change.reason.value if change.reason else None,
            "detail": change.detail,
            "retry_in": change.retry_in,
            "description": change.description,
        }
        told = {key: value for key, value in details.items() if value is not None}
        level = log.warning if change.reason else log.info
        level(f"stream {change.state.value}", stream=self.name, **told)
        self._services.report(self.name, change.state.value, told)
        assert self._composer is not None, "the reader starts after the model is known"
        status = self._composer.status(self.name, change.state.value, time.time_ns(), **told)
        self._services.publisher.status(status)

    # -- what the detector answers

    def answered(self, answer: Answer) -> None:
        """Takes an answer: its slot is free again, and frames leave in capture order."""
        if self.ledger.settle(answer.seq, FATES[answer.outcome], answer) is not None:
            self._slots.give_back(answer.slot)
        self.drain()

    def detector_lost(self) -> None:
        """The detector is gone with every frame it had; its slots are ours again."""
        for ticket in self.ledger.unsettled():
            item = self.ledger.settle(ticket, Fate.DROPPED_DETECTOR)
            if isinstance(item, Departed):
                self._slots.give_back(item.slot)
        self.drain()

    def drain(self) -> None:
        for item, answer in self.ledger.release():
            if self._finished:
                continue
            match item:
                case SessionStart():
                    self._tracker = new_tracker(self._tracker_config, item.frame_rate)
                    assert self._described is not None, "the reader starts after the model is known"
                    self._lifecycle = Lifecycle(
                        self.name, item.session, self._tracker_config.lost_after, self._described[0].names,
                        self._zones, self._lines,
                    )  # fmt: skip
                case SessionEnd():
                    self._end_session()
                case Departed() if answer is not None and answer.outcome is Outcome.ANALYSED:
                    self._analysed(item, answer)

    def _analysed(self, departed: Departed, answer: Answer) -> None:
        assert self._tracker is not None and self._lifecycle is not None and self._composer is not None
        frame = departed.frame
        detections = Detections.in_source(answer.found, departed.letterbox)
        began = time.perf_counter()
        tracks = self._tracker.update(detections, frame.pts_ns)
        events = self._lifecycle.update(frame, tracks)
        self._track_seconds.observe(time.perf_counter() - began)
        now_ns = time.monotonic_ns()
        result = self._composer.frame_result(frame, detections, tracks, now_ns)
        self._services.publisher.frame_result(result)
        self._publish(events)
        self._end_to_end_seconds.observe((now_ns - frame.arrival_ns) / 1e9)
        self._publish_seconds.observe((time.monotonic_ns() - now_ns) / 1e9)
        detections_total = self._services.metrics.publish.detections
        for class_name, count in Counter(seen.class_name for seen in result.objects).items():
            detections_total.labels(self.name, class_name).inc(count)

    def _end_session(self) -> None:
        if self._lifecycle is not None:
            self._publish(self._lifecycle.finish())
        self._tracker = self._lifecycle = None

    def _publish(self, events: list[Event]) -> None:
        assert self._composer is not None and self._lifecycle is not None
        for event in events:
            told = self._composer.event(event)
            self._services.publisher.event(told)
            if told.line is not None and told.direction is not None:
                self._line_crossings.labels(self.name, told.line, told.direction, told.class_name).inc()
        self._tracks_active.set(len(self._lifecycle))
        for zone in self._lifecycle.rules.zones:
            self._zone_objects.labels(self.name, zone.name).set(len(zone))
