"""One stream's reader: connects, decodes, and hands frames to the detector through the ring. Runs in its own thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.channel import Answer
from inference.letterbox import Letterbox
from inference.model import ModelInfo
from ingest.activity import Calls
from ingest.clock import NS
from ingest.device_frame import DeviceFrame, is_on_device
from ingest.errors import Reason, SourceError
from ingest.frame import Frame
from ingest.frozen import FrozenPicture
from ingest.ledger import Fate, FrameLedger
from ingest.pulse import Pulse
from ingest.recent import RecentPackets
from ingest.reconnect import Backoff, StreamState
from ingest.ring import FreeSlots, Ring
from ingest.sampling import Sampler
from ingest.shrink import Shrinker
from ingest.sources import Source, open_source
from ingest.sources.container import Container
from ingest.sources.whip import Handover, WhipSource
from publish.preview.views import Views
from publish.tracing.tracer import FrameTrace, Tracer
from tracking.attention.attention import Attention, Look
from tracking.reid.config import DETECTOR
from vigil.link import DetectorLink
from vigil.orders import StreamOrder
from vigil.services import Services
from vigil.timing import SessionTimes

if TYPE_CHECKING:
    from inference.preprocess_cuda import DeviceLetterboxer

log = structlog.get_logger()

BLOCK_POLL_S = 0.1
ROOM_POLL_S = 0.005
DEFAULT_RATE = 25.0


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A connection began delivering frames, of which about `frame_rate` a second are analysed."""

    session: int
    frame_rate: float


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The connection is over."""

    session: int


@dataclass(frozen=True, slots=True)
class Departed:
    """A frame on its way through the detector, and the slot its model-sized copy is in, in GPU memory or the host's."""

    frame: Frame
    letterbox: Letterbox
    slot: int
    on_device: bool = False
    trace: FrameTrace | None = None


@dataclass(frozen=True, slots=True)
class Passing:
    """A frame that the detector is not asked about; `stands`: nothing has moved for a while."""

    frame: Frame
    stands: bool
    trace: FrameTrace | None = None


Passage = Departed | Passing | SessionStart | SessionEnd
Ledger = FrameLedger[Passage, Answer]


@dataclass(frozen=True, slots=True)
class StateChange:
    """What a stream's state became, and why."""

    state: StreamState
    session: int | None = None
    reason: Reason | None = None
    detail: str | None = None
    retry_in: float | None = None
    description: str | None = None


class Listener(Protocol):
    """Who hears of a reader; called in the worker's loop."""

    def state_changed(self, change: StateChange) -> None: ...

    def drain(self) -> None:
        """Something may be ready in the ledger."""
        ...


class StreamReader:
    """Reads one stream of a worker; `number` is the stream's number there.

    Attributes:
        pulse: of a live source's current session; others may ask it whether the session stalls, as the reader itself
            hangs on the camera's next packet.
        latest: the newest frame of the current session, wanted or not; for who asks for a picture.
    """

    def __init__(
        self,
        order: StreamOrder,
        number: int,
        ledger: Ledger,
        slots: FreeSlots,
        services: Services,
        handover: Handover | None = None,
        attention: Attention | None = None,
        recent: RecentPackets | None = None,
        views: Views | None = None,
    ) -> None:
        """Without `attention` the detector is asked about every frame that the stream's `fps` lets through; `recent`
        keeps the source's packets, where it has any, and `views` are shown them."""
        self._stream = order.name
        self._number = number
        self._config = order.source
        self._weight = order.source.weight
        self._wants_features = order.tracker.reid == DETECTOR
        self._ledger = ledger
        self._slots = slots
        self._services = services
        self._handover = handover
        self._attention = attention
        self._views = views
        live = views.live if views is not None else None
        self._taps = [tap for tap in (recent, live) if tap is not None]
        self._skipped = Fate.SKIPPED_ADAPTIVE if order.source.attention.mode == "adaptive" else Fate.SKIPPED_MOTION
        self._session = order.last_session
        self._calls = Calls(services.activity, number)
        self._frozen = FrozenPicture(order.source.frozen_timeout)
        self.pulse: Pulse | None = None
        self.latest: Frame | None = None
        metrics = services.metrics
        self._decode_seconds = metrics.stage.labels("decode")
        self._motion_seconds = metrics.stage.labels("motion")
        self._letterbox_seconds = metrics.stage.labels("letterbox")
        self._shrinker = Shrinker()
        self._masks = order.source.masks
        self._device_letterboxer: DeviceLetterboxer | None = None
        self._fitted: tuple[tuple[int, int], ModelInfo, Letterbox] | None = None
        self._pictures: dict[int, tuple[Ring, Letterbox, NDArray[np.uint8]]] = {}  # by slot

    def run(self, listener: Listener, stop: Event) -> None:
        """Reads until told to stop, reconnecting as often as it takes; returns at the end of a file."""
        self._listener = listener
        self._services.metrics.ingest.begin(self._stream)
        backoff = Backoff()
        connecting = StateChange(StreamState.CONNECTING)
        while not stop.is_set():
            self._tell(connecting)
            connecting = StateChange(StreamState.CONNECTING)
            self._live_since: float | None = None
            try:
                self._read_session(stop)
                if self._config.ends and not stop.is_set():
                    self._tell(StateChange(StreamState.ENDED, session=self._session))
                    return
                failure = SourceError(Reason.LOST, "the source ended")
            except SourceError as error:
                failure = error
            except Exception as error:  # whatever a camera's pictures can make fail ends its session, not its stream
                log.exception("reading failed", stream=self._stream)
                failure = SourceError(Reason.CORRUPT, f"{type(error).__name__}: {error}")
            if stop.is_set():
                break
            self._services.metrics.ingest.reconnects.labels(self._stream, failure.reason.value).inc()
            if self._config.ends:
                self._tell(StateChange(StreamState.FAILED, reason=failure.reason, detail=failure.detail))
                return
            if self._handover is not None and failure.reason is Reason.LOST:
                # The next publisher is waited for, not tried: there is nothing to spare by doing so later.
                connecting = StateChange(StreamState.CONNECTING, reason=failure.reason, detail=failure.detail)
                continue
            live_s = time.monotonic() - self._live_since if self._live_since is not None else 0.0
            delay = backoff.failed(failure.reason, live_s)
            self._tell(
                StateChange(StreamState.BACKOFF, reason=failure.reason, detail=failure.detail, retry_in=round(delay, 2))
            )
            stop.wait(delay)
        self._tell(StateChange(StreamState.STOPPED))

    def _tell(self, change: StateChange) -> None:
        self._services.call(self._listener.state_changed, change)

    def _read_session(self, stop: Event) -> None:
        opening = open_source(self._config, self._gpu(), self._calls)
        if isinstance(opening, WhipSource):
            opening.handover = self._handover
        if isinstance(opening, Container):
            opening.taps = self._taps
        with opening as source:
            seq = 0
            self._counted = {"broken": 0, "skipped": 0, "late": 0}
            try:
                for frame in self._timed_frames(source, stop):
                    if seq == 0:
                        self._begin(source)
                    seq += 1
                    self._count_packets(source)
                    if self._config.is_live:
                        self._watch(frame)
                    self._forward(frame, source, stop)
                    if stop.is_set():
                        break
            finally:
                self.pulse = self.latest = None
                self._count_packets(source)
                if seq:
                    self._ledger.mark(SessionEnd(self._session))
                    self._services.call(self._listener.drain)

    def _watch(self, frame: Frame) -> None:
        """Ends a session that shows nothing new."""
        assert self.pulse is not None, "the session has begun"
        self.pulse.frame(frame.pts, frame.arrival_ns)
        same_s = self._frozen.look(frame)
        if same_s is None:
            return
        detail = f"the same picture for {same_s:.0f} s (frozen_timeout)"
        self.pulse = None  # nobody is to call it live again
        self._tell(StateChange(StreamState.STALLED, session=self._session, reason=Reason.FROZEN, detail=detail))
        raise SourceError(Reason.FROZEN, detail)

    def _count_packets(self, source: Source) -> None:
        """Brings the metric up to date with the source."""
        packets = source.packets
        now = {"broken": packets.broken, "skipped": packets.skipped, "late": packets.late}
        if now != self._counted:
            for outcome, count in now.items():
                counter = self._services.metrics.ingest.packets.labels(self._stream, outcome)
                counter.inc(count - self._counted[outcome])
            self._counted = now

    def _gpu(self) -> int | None:
        """The number of the GPU that wants the frames, if the detector has one."""
        link = self._services.link()
        return link.gpu if link else None

    def _begin(self, source: Source) -> None:
        rates = [rate for rate in (self._config.fps, source.frame_rate) if rate]
        self._ledger.mark(SessionStart(self._session, min(rates, default=DEFAULT_RATE)))
        self._sampler = Sampler(self._config.fps)
        for decoder in ("cpu", "nvdec", "vaapi", "qsv"):
            self._services.metrics.ingest.decoder.labels(self._stream, decoder).set(decoder == source.decoder)
        if source.fallback:
            log.warning("decoding on the CPU", stream=self._stream, reason=source.fallback)
        now_ns = time.monotonic_ns()
        self._live_since = now_ns / 1e9
        self._frozen.begin(now_ns)
        self.pulse = Pulse(self._config.read_timeout, now_ns) if self._config.is_live else None
        self._tell(StateChange(StreamState.LIVE, session=self._session, description=source.description))

    def _timed_frames(self, source: Source, stop: Event) -> Iterator[Frame]:
        """The source's frames with their times, files paced as configured."""
        times = SessionTimes(self._stream, source, not self._config.is_file, self._services.metrics.ingest)
        # Milliseconds since the epoch: sessions stay apart across restarts without anything to remember them by.
        self._session = max(self._session + 1, time.time_ns() // 1_000_000)
        if self._views is not None and self._views.live is not None:
            self._views.live.begins(self._session)
        paced = self._config.is_paced
        began = 0.0
        for seq, image in enumerate(source.frames()):
            pts_ns = times.media_ns(image)
            if seq == 0:
                began = time.monotonic()
            if paced:
                early = began + pts_ns / 1e9 - time.monotonic()
                if early > 0 and stop.wait(early):
                    return
            arrival_ns, taken = times.capture(image, pts_ns)
            kind = DeviceFrame if is_on_device(image) else Frame
            yield kind(
                self._stream, self._session, seq, pts_ns, arrival_ns, taken.at_ns, taken.clock, taken.uncertainty_ns,
                image, self._masks,
            )  # fmt: skip

    def _forward(self, frame: Frame, source: Source, stop: Event) -> None:
        self._decode_seconds.observe(source.decode_s)
        self._services.activity.frame(self._number, frame.arrival_ns)
        self.latest = frame  # the loop over frames holds it anyway, until the next one is there
        if not self._sampler.takes(frame.pts_ns):
            self._ledger.count(Fate.SKIPPED_SAMPLE)
            return
        trace = None if self._services.tracer is None else self._begin_trace(frame, source, self._services.tracer)
        if self._attention is not None and self._passes_by(frame, self._attention, stop, trace):
            return
        taken = self._take_slot(stop)
        if isinstance(taken, Fate):
            self._ledger.count(taken)
            self._was_missed(taken, trace)
            if taken is Fate.DROPPED_DETECTOR and self._views is not None and self._views.wants_pictures:
                self._services.call(self._views.told, frame, None)  # viewers need no detector
            return
        link, slot = taken
        began_ns = time.monotonic_ns()
        letterbox = self._letterbox(frame, link)
        on_device = self._fill(frame, letterbox, link, slot)
        filled_ns = time.monotonic_ns()
        self._letterbox_seconds.observe((filled_ns - began_ns) / NS)
        if trace is not None:
            trace.stage("letterbox", began_ns, filled_ns)
        if self._attention is not None:
            self._attention.asks(frame)
        if not link.submit(
            self._number, self._ledger, Departed(frame, letterbox, slot, on_device, trace),
            self._config.on_full == "block", self._weight, self._wants_features,
        ):  # fmt: skip
            self._slots.give_back(slot)
            self._ledger.count(Fate.DROPPED_DETECTOR)
            self._was_missed(Fate.DROPPED_DETECTOR, trace)

    def _begin_trace(self, frame: Frame, source: Source, tracer: Tracer) -> FrameTrace | None:
        trace = tracer.begin(frame.stream, frame.session, frame.seq)
        if trace is not None:
            trace.stage("decode", frame.arrival_ns - int(source.decode_s * NS), frame.arrival_ns)
        return trace

    def _passes_by(self, frame: Frame, attention: Attention, stop: Event, trace: FrameTrace | None) -> bool:
        """Whether the detector need not see the frame; its tracks and rules still do, as far as there are any.

        A stream that may wait decides when all is known of the frames before, so that it decides the same every time,
        and when there is room for this one, so that it has a result.
        """
        if self._config.on_full == "block":
            while not attention.settled.wait(BLOCK_POLL_S) and not stop.is_set():
                pass
            while not self._ledger.has_room() and not stop.wait(ROOM_POLL_S):
                pass
        began_ns = time.monotonic_ns()
        look = attention.look(frame)
        looked_ns = time.monotonic_ns()
        self._motion_seconds.observe((looked_ns - began_ns) / NS)
        if trace is not None:
            trace.stage("motion", began_ns, looked_ns)
        if look is Look.DETECT:
            return False
        fate = Fate.SKIPPED_MOTION if look is Look.HOLD else self._skipped
        watched = self._views is not None and self._views.wants_pictures
        if not attention.has_tracks and not watched:
            self._ledger.count(fate)
        elif self._ledger.pass_by(Passing(frame, look is Look.HOLD, trace), fate):
            self._services.call(self._listener.drain)
        return True

    def _was_missed(self, fate: Fate, trace: FrameTrace | None) -> None:
        if trace is not None and self._services.tracer is not None:
            self._services.tracer.end(trace, fate.value)
        if self._attention is not None:
            self._attention.missed()

    def _fill(self, frame: Frame, letterbox: Letterbox, link: DetectorLink, slot: int) -> bool:
        """Puts the frame into the slot at the model's size; True: into that in GPU memory, as the frame is there."""
        if isinstance(frame, DeviceFrame) and link.device_ring is not None:
            if self._device_letterboxer is None:
                from inference.preprocess_cuda import DeviceLetterboxer  # PyTorch, which the link has loaded

                self._device_letterboxer = DeviceLetterboxer(link.device_ring.device)
            on_device = link.device_ring.picture(slot, letterbox.height, letterbox.width)
            self._device_letterboxer.apply(frame, letterbox, on_device)
            return True
        frame.shrink(self._shrinker, self._picture(letterbox, link, slot), letterbox.place)
        return False

    def _picture(self, letterbox: Letterbox, link: DetectorLink, slot: int) -> NDArray[np.uint8]:
        """The slot as a padded picture; the padding stays, as only the part within it is written."""
        ring, padded, picture = self._pictures.get(slot, (None, None, None))
        if picture is None or ring is not link.ring or padded is not letterbox:
            picture = link.ring.picture(slot, letterbox.height, letterbox.width)
            letterbox.pad(picture)
            self._pictures[slot] = link.ring, letterbox, picture
        return picture

    def _take_slot(self, stop: Event) -> tuple[DetectorLink, int] | Fate:
        """The detector's link and a free slot; for a stream that may wait, once there are both."""
        blocks = self._config.on_full == "block"
        while True:
            link = self._services.link()
            slot = self._slots.take(BLOCK_POLL_S if blocks else 0.0) if link else None
            if link and slot is not None:
                return link, slot
            if not blocks or stop.is_set():
                return Fate.DROPPED_RING if link else Fate.DROPPED_DETECTOR
            if link is None:
                stop.wait(BLOCK_POLL_S)

    def _letterbox(self, frame: Frame, link: DetectorLink) -> Letterbox:
        """How the frame fits the model's input; remembered until the picture's size or the model is another."""
        size, model = (frame.width, frame.height), link.model
        if self._fitted is None or self._fitted[:2] != (size, model):
            self._fitted = size, model, Letterbox.fit(*size, model.image_size, model.input)
        return self._fitted[2]
