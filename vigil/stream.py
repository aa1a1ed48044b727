"""One stream within its worker: answers from the detector become tracks, messages and events. Runs in the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from inference.channel import Answer, Outcome
from inference.detections import Detections
from inference.features import Features
from inference.model import ModelInfo
from ingest.clock import NS
from ingest.errors import VigilError
from ingest.frame import Frame
from ingest.ledger import Fate, FrameLedger
from ingest.recent import RecentPackets
from ingest.reconnect import StreamState
from ingest.ring import FreeSlots
from ingest.sources.whip import Handover
from ingest.webrtc.desk import Desk
from ingest.webrtc.encoded import DecoderWatch
from publish.media.album import Album
from publish.media.clips import Clips
from publish.media.darkroom import Darkroom
from publish.media.pictures import Pictures
from publish.preview.annotate import Rules
from publish.preview.views import Views
from publish.schema import FrameResult
from publish.schema.composer import Composer
from publish.tracing.tracer import FrameTrace
from tracking.attention.attention import Attention
from tracking.attention.cadence import Cadence
from tracking.events import CountType, Event, EventType, Identity
from tracking.following import Following
from tracking.lifecycle import Lifecycle
from tracking.reid.config import DETECTOR
from tracking.rules.config import ZoneConfig
from tracking.rules.lasting import Lasting
from tracking.trackers import new_tracker
from tracking.tracks import Tracks
from vigil.appearance import Appearance
from vigil.easel import Easel
from vigil.identification import Introductions
from vigil.orders import StreamOrder
from vigil.reader import Departed, Ledger, Passing, SessionEnd, SessionStart, StateChange, StreamReader
from vigil.services import Services
from vigil.standing import Standing
from vigil.warm_tracker import warm_tracker

log = structlog.get_logger()

FATES = {
    Outcome.ANALYSED: Fate.ANALYSED,
    Outcome.REPLACED: Fate.DROPPED_STALE,
    Outcome.ERROR: Fate.DROPPED_ERROR,
}


# Until an event is certain, beside the time after which a track is lost: the detector's, and what rules wait for.
CERTAIN_S = 3.0


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
        self._zones, self._lines, self._ground = order.source.zones, order.source.lines, order.source.ground
        self._lasting = Lasting(self._zones, self._lines, order.source.heatmap_half_life)
        self._slots = FreeSlots(slots)
        self._services = services
        self._views = _views(order, services)
        publishers = order.source.scheme == "whip"
        self._handover = Handover(partial(self.ledger.count, Fate.DROPPED_STALE)) if publishers else None
        self._desk: Desk | None = None
        if self._handover is not None:
            decoders = DecoderWatch(services.activity, number)
            live = self._views.live if self._views is not None else None
            self._desk = Desk(order.name, order.source, self._handover, decoders, live)
        attends = order.source.attention.mode != "off"
        self._attention = Attention(order.source.attention) if attends else None
        recent = _recent(order)
        self._reader = StreamReader(
            order, number, self.ledger, self._slots, services, self._handover, self._attention, recent, self._views
        )
        self._stop = threading.Event()
        self._closing: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        # Publishers may come at any time.
        self._standing = Standing(order.name, services, None if publishers else order.source.connect_timeout)
        self._composer: Composer | None = None
        self._described: tuple[ModelInfo, float] | None = None  # the detector's model and least confidence
        self._following: Following | None = None
        self._finished = self._paused = False
        self._identity = order.identity
        self._introductions: Introductions | None = None
        self._album = _album(order, services.darkroom, recent)
        self._easel = Easel(order.name)
        self._last_result: FrameResult | None = None
        self._appearance = Appearance(order, services, self._slots.give_back, self.drain)
        metrics = services.metrics
        metrics.ingest.ledgers.add(order.name, self.ledger)
        self._track_seconds, self._publish_seconds = metrics.stage.labels("track"), metrics.stage.labels("publish")
        self._end_to_end_seconds = metrics.publish.end_to_end.labels(order.name)
        self._tracks_active = metrics.tracking.active.labels(order.name)
        self._counts = metrics.tracking

    # -- the reader thread

    def start(self, model: ModelInfo, confidence: float) -> None:
        """Starts reading; with another detector, or one that restarted, it only takes note of the model.

        `confidence` is the least score of a reported box that belongs to no track; the detector may send weaker ones,
        for the tracker.
        """
        self._described = model, confidence
        self._compose()
        self._appearance.start(model.device, confidence)
        for name, rule in [*self._zones.items(), *self._lines.items()]:
            named = {*(rule.classes or ()), *(rule.owners if isinstance(rule, ZoneConfig) and rule.abandoned else ())}
            if strange := sorted(named - set(model.names)):
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
            if self._album is not None:
                self._album.model_has(model.names)

    def _read(self) -> None:
        self._services.activity.read_by(self.number, threading.get_ident())
        self._prepare()
        self._reader.run(self, self._stop)

    def _prepare(self) -> None:
        """Loads the tracker in this thread: some take seconds, in which the loop serves the other streams."""
        try:
            warm_tracker(self._tracker_config)
        except Exception:  # whatever a tracker of the user's own does
            log.exception("the tracker does not work", stream=self.name, kind=self._tracker_config.kind)

    def stop(self, paused: bool = False) -> None:
        """Asks the reader to end; a blocked FFmpeg call may keep it for up to the read time-out.

        `paused`: that is what is told of its end, as somebody will have it begin again.
        """
        self._paused = paused
        self._stop.set()
        if self._handover is not None and self._desk is not None:
            self._handover.close()
            self._closing = asyncio.ensure_future(self._desk.close())

    @property
    def reading(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def settled(self) -> bool:
        """Whether its reader has ended and the detector has nothing of it: its number and slots are free."""
        return not self.reading and not self.ledger.unsettled() and not self._appearance.waiting

    def finish(self) -> None:
        """Ends the current session's tracks and falls silent: the reader may be stuck and never say that it ended."""
        self.drain()
        self._appearance.stop()
        self.drain()
        self._end_session()
        self._finished = True
        if self._services.gallery is not None and self._views is not None:
            self._services.gallery.forget(self._views)

    # -- what the supervisor asks

    async def answer(self, question: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Answers a question about this stream.

        Raises:
            VigilError: the answer is no.
        """
        if not self.reading:
            raise NotReadingError(f"stream {self.name!r} is not read yet")
        match question, self._desk:
            case "heatmap", _:
                heat = self._lasting.heat.now()
                return {
                    "half_life_s": heat.half_life_s, "over_s": round(heat.over_s, 3),
                    "seconds": heat.seconds.round(2).tolist(),
                }  # fmt: skip
            case "still", _:
                return await self._easel.answer(self._reader.latest, self._last_result, **asked)
            case "whip.offer", Desk() as desk:
                return await desk.offer(**asked)
            case "whip.trickle", Desk() as desk:
                return await desk.trickle(**asked)
            case "whip.end", Desk() as desk:
                return await desk.end(**asked)
        raise UnknownQuestionError(f"stream {self.name!r} cannot be asked {question!r}")

    # -- what the reader tells

    def watch(self, now_ns: int) -> None:
        """Tells what has become of the stream without its reader saying so."""
        if self._composer is None:
            return  # no detector yet, so nobody has tried to connect
        if (change := self._standing.found(self._reader.pulse, now_ns)) is not None:
            self.state_changed(change)

    def state_changed(self, change: StateChange) -> None:
        if self._finished:
            return
        if self._paused and change.state is StreamState.STOPPED:
            change = StateChange(StreamState.PAUSED)
        assert self._composer is not None, "the reader starts after the model is known"
        self._standing.becomes(change, self._composer)

    # -- what the detector answers

    def answered(self, answer: Answer) -> None:
        """Takes an answer: frames leave in capture order, and its slot is free again.

        In this order, as a reader that waits for a slot would want the interpreter at once.
        """
        settled = self.ledger.settle(answer.seq, FATES[answer.outcome], answer)
        keeps_slot = settled is None or self._appearance.keeps(answer)
        self.drain()
        if not keeps_slot:
            self._slots.give_back(answer.slot)

    def detector_lost(self) -> None:
        """The detector is gone with every frame it had; its slots are ours again."""
        for ticket in self.ledger.unsettled():
            item = self.ledger.settle(ticket, Fate.DROPPED_DETECTOR)
            if isinstance(item, Departed):
                self._slots.give_back(item.slot)
        self.drain()

    def drain(self) -> None:
        for item, answer, features in self._appearance.through(self.ledger.release()):
            if self._finished:
                continue
            match item:
                case SessionStart():
                    self._following = self._follow(item)
                    if self._views is not None:
                        self._views.began(item.session, item.frame_rate)
                case SessionEnd():
                    self._end_session()
                case Passing():
                    self._passed_by(item)
                case Departed() if answer is not None and answer.outcome is Outcome.ANALYSED:
                    self._analysed(item, answer, features)
                case Departed():
                    self._missed(item, answer)

    def _follow(self, start: SessionStart) -> Following:
        config = self._tracker_config
        assert self._described is not None, "the reader starts after the model is known"
        lifecycle = Lifecycle(
            self.name, start.session, config.lost_after, self._described[0].names, self._zones, self._lines,
            self._ground, self._lasting, config.updates,
        )  # fmt: skip
        if self._identity is not None and self._services.inquiries is not None:
            self._introductions = Introductions(
                self._identity, self.name, start.session, lifecycle, self._services.inquiries, self._counts
            )
        cadence = Cadence(config.lost_after, config.high_confidence) if self._attention is not None else None
        return Following(new_tracker(config, start.frame_rate), lifecycle, cadence)

    def _analysed(self, departed: Departed, answer: Answer, features: Features | None) -> None:
        assert self._following is not None
        frame = departed.frame
        detections = Detections.in_source(answer.found, departed.letterbox)
        if features is not None:
            detections = replace(detections, features=features)
        began_ns = time.monotonic_ns()
        tracks, events = self._following.analysed(frame, detections)
        if self._introductions is not None and detections.features is not None:
            self._introduce(frame, tracks, detections.features)
        if self._attention is not None and self._following.view is not None:
            self._attention.told(self._following.view)
        tracked_ns = time.monotonic_ns()
        self._track_seconds.observe((tracked_ns - began_ns) / NS)
        result = self._tell(frame, detections, tracks, events, analysed=True)
        told_ns = time.monotonic_ns()
        self._services.activity.analysed(self.number, told_ns)
        if departed.trace is not None:
            self._detected(departed.trace, answer, len(result.objects))
            self._traced(departed.trace, Fate.ANALYSED.value, began_ns, tracked_ns, told_ns)
        detections_total = self._services.metrics.publish.detections
        for class_name, count in Counter(seen.class_name for seen in result.objects).items():
            detections_total.labels(self.name, class_name).inc(count)

    def _introduce(self, frame: Frame, tracks: Tracks, features: Features) -> None:
        assert self._introductions is not None and self._described is not None
        model, reid = self._described[0], self._tracker_config.reid
        by = model.hash if reid == DETECTOR else reid
        self._introductions.saw(frame, tracks, features, model.names, by)

    def identified(self, session: int, track: int, identity: Identity) -> None:
        """The supervisor knows who a track is."""
        if self._introductions is not None:
            self._introductions.identified(session, track, identity)

    def _passed_by(self, passing: Passing) -> None:
        assert self._following is not None
        began_ns = time.monotonic_ns()
        tracks, events = self._following.skipped(passing.frame, passing.stands)
        tracked_ns = time.monotonic_ns()
        self._track_seconds.observe((tracked_ns - began_ns) / NS)
        if len(tracks):
            self._tell(passing.frame, Detections.empty(), tracks, events, analysed=False)
        else:
            self._publish(events, passing.frame, tracks)
            if self._views is not None and self._views.watched:
                self._views.told(passing.frame, None)
        if passing.trace is not None:
            self._traced(passing.trace, "passed_by", began_ns, tracked_ns, time.monotonic_ns())

    def _missed(self, departed: Departed, answer: Answer | None) -> None:
        """The detector has not looked at it."""
        if departed.trace is not None and self._services.tracer is not None:
            fate = Fate.DROPPED_DETECTOR if answer is None else FATES[answer.outcome]
            departed.trace.stage("wait", departed.trace.sent_ns, time.monotonic_ns())
            self._services.tracer.end(departed.trace, fate.value)
        if self._attention is None:
            return
        if answer is not None and answer.outcome is Outcome.REPLACED:
            self._attention.replaced()
        else:
            self._attention.missed()

    @staticmethod
    def _detected(trace: FrameTrace, answer: Answer, objects: int) -> None:
        """What the detector says that it took."""
        began_ns = trace.sent_ns
        for stage, took_s in (("wait", answer.wait_s), ("infer", answer.infer_s), ("post", answer.post_s)):
            ended_ns = began_ns + int(took_s * NS)
            trace.stage(stage, began_ns, ended_ns)
            began_ns = ended_ns
        trace.attributes |= {"vigil.batch": answer.batch, "vigil.objects": objects}

    def _traced(self, trace: FrameTrace, outcome: str, began_ns: int, tracked_ns: int, told_ns: int) -> None:
        if self._services.tracer is not None:
            trace.stage("track", began_ns, tracked_ns)
            trace.stage("publish", tracked_ns, told_ns)
            self._services.tracer.end(trace, outcome)

    def _tell(
        self, frame: Frame, detections: Detections, tracks: Tracks, events: list[Event], analysed: bool
    ) -> FrameResult:
        """Publishes what there is to say of a frame."""
        assert self._composer is not None and self._following is not None
        now_ns = time.monotonic_ns()
        motions = self._following.lifecycle.motions(tracks.track_ids)
        identities = self._following.lifecycle.identities
        result = self._composer.frame_result(frame, detections, tracks, now_ns, motions, analysed, identities)
        self._services.publisher.frame_result(result)
        self._last_result = result
        if self._views is not None and self._views.watched:
            self._views.told(frame, result)
        self._publish(events, frame, tracks)
        self._end_to_end_seconds.observe((now_ns - frame.arrival_ns) / 1e9)
        self._publish_seconds.observe((time.monotonic_ns() - now_ns) / 1e9)
        return result

    def _end_session(self) -> None:
        if self._following is not None:
            self._publish(self._following.lifecycle.finish())
            if self._views is not None:
                self._views.ended()
        self._following = self._introductions = None

    def _publish(self, events: list[Event], frame: Frame | None = None, tracks: Tracks | None = None) -> None:
        """`frame` and its tracks are what the events come from, unless the session is over."""
        assert self._composer is not None and self._following is not None
        lifecycle = self._following.lifecycle
        if self._introductions is not None:
            self._introductions.happened(events)
        if self._album is not None and frame is not None and tracks is not None:
            self._album.look(frame, tracks, lifecycle.best_now())
        for event in events:
            told = self._composer.event(event)
            if self._album is not None:
                told = self._album.accompany(told)
            self._services.publisher.event(told)
            if told.type is EventType.LINE_CROSSED:
                self._counts.line_crossings.labels(self.name, told.line, told.direction, told.class_name).inc()
            elif told.type is EventType.ZONE_ENTERED:
                self._counts.zone_entries.labels(self.name, told.zone, told.class_name).inc()
        if self._album is not None:
            self._album.looked()
        for report in lifecycle.reports():
            self._services.publisher.event(self._composer.counted(report))
        for (counted, place), tally in self._lasting.tallies.items():
            for window, kind, count in tally.changed():
                at_line = counted is CountType.LINE_COUNTED
                direction = (kind.direction,) if at_line else ()
                gauge = self._counts.line_window if at_line else self._counts.zone_window
                gauge.labels(self.name, place, *direction, kind.class_name, f"{window:g}").set(count)
        self._tracks_active.set(len(lifecycle))
        for zone in lifecycle.rules.zones:
            self._counts.zone_objects.labels(self.name, zone.name).set(len(zone))


def _recent(order: StreamOrder) -> RecentPackets | None:
    """What keeps the stream's packets, if clips are wanted: also for as long as it takes until an event is certain."""
    clips = order.source.clips
    if clips is None:
        return None
    return RecentPackets(order.name, clips.before + order.tracker.lost_after + CERTAIN_S, clips.memory)


def _views(order: StreamOrder, services: Services) -> Views | None:
    """What is watched of the stream."""
    source = order.source
    if services.gallery is None:
        return None
    return services.gallery.views(order.name, Rules(source.zones, source.lines), bool(source.privacy_masks))


def _album(order: StreamOrder, darkroom: Darkroom | None, recent: RecentPackets | None) -> Album | None:
    """What makes pictures and clips of the stream's events, if any are wanted."""
    snapshots, clips = order.source.snapshots, order.source.clips
    if darkroom is None or (snapshots is None and clips is None):
        return None
    pictures = None if snapshots is None else Pictures(order.name, snapshots, darkroom, ())
    cut = None if clips is None or recent is None else Clips(order.name, clips, darkroom, recent)
    return Album(pictures, cut)
