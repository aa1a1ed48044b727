"""A recording through the service's own stages in one process: every frame of it, as fast as they go, no NATS.

| runs                       | where                                        |
|----------------------------|----------------------------------------------|
| decoding, letterboxing     | one thread, some frames ahead (`read_ahead`) |
| inference, boxes           | `runtime.parallel` threads                   |
| tracking, rules, messages  | whoever iterates over `Recording.frames`     |

Nothing in it depends on the time of day or on which thread is first: the same recording gives the same messages.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from inference.config import DetectorConfig
from inference.detections import Detections
from inference.detector import decoded
from inference.errors import ModelError
from inference.found import Found
from inference.letterbox import Letterbox
from inference.model import ModelInfo
from inference.runtimes import Runtime, detect_on_device
from ingest.clock import Clock, MediaClock
from ingest.errors import Reason, SourceError, VigilError
from ingest.frame import Frame
from ingest.privacy import PrivacyMasks
from ingest.sampling import Sampler
from ingest.shrink import Shrinker
from ingest.sources import Source, open_source
from publish.schema import CountEvent, FrameResult, TrackEvent
from publish.schema.composer import Composer
from tracking.attention.cadence import Cadence
from tracking.config import TrackerConfig
from tracking.events import Event
from tracking.following import Following
from tracking.lifecycle import Lifecycle
from tracking.reid.config import DETECTOR, is_file
from tracking.reid.model import ReidModel, load_reid, looks
from tracking.reid.queue import OBJECTS
from tracking.trackers import new_tracker
from tracking.tracks import Tracks
from vigil.config import StreamConfig, VigilConfig
from vigil.detector import Loaded, load_model
from vigil.document import ConfigError, Problem
from vigil.layout import detectors_of

log = structlog.get_logger()

SESSION = 1
# Frames a second of a recording that does not say.
DEFAULT_RATE = 25.0
# Larger batches make no device faster by much, and the frames of several of them are in memory.
LARGEST_BATCH = 8
# Frames that wait decoded beyond those that are inferred: who iterates may be slow for a moment.
SPARE_FRAMES = 4

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Settings:
    """What applies to a recording: a stream's settings, whose camera it stands for.

    Attributes:
        stream: the stream's id in messages; None: one made of the file's name.
        source: its `url` is not used.
        detector: as the detector of a service would be told: weak boxes, which only the tracker wants, are asked for.
        confidence: least score of a reported box that belongs to no track.
    """

    site: str
    stream: str | None
    source: StreamConfig
    tracker: TrackerConfig
    detector: DetectorConfig
    confidence: float
    config_rev: str

    @classmethod
    def of(cls, config: VigilConfig, stream: str, model: str | None = None) -> Settings:
        """A stream's; `model` in place of the one that the config names."""
        source = config.streams[stream]
        update: dict[str, Any] = {"streams": {stream: source}}
        if model is not None:
            detector = config.detector_settings(source.detector).model_copy(update={"model": model})
            update |= (
                {"detector": detector}
                if source.detector is None
                else {"detectors": {**config.detectors, source.detector: detector}}
            )
        config = config.model_copy(update=update)
        (place, *_) = detectors_of(config)[source.detector]
        return cls(
            config.site, stream, source, config.tracker_of(stream), place.config, place.confidence,
            config.revision_of(stream),
        )  # fmt: skip

    @classmethod
    def default(cls, model: str | None = None) -> Settings:
        """Without a config."""
        settings = cls.of(VigilConfig(streams={"recording": StreamConfig(url="recording")}), "recording", model)
        return replace(settings, stream=None)

    def stream_of(self, file: Path) -> str:
        """The stream's id in the messages about a file."""
        slug = re.sub(r"[^a-z0-9_-]+", "-", file.stem.lower()).strip("-_")[:64]
        return self.stream or slug or "recording"


def only_stream(config: VigilConfig, file: Path, wanted: str | None) -> str:
    """The stream of a config that a recording stands for: the one that is wanted, else the only one.

    Raises:
        ConfigError: there is none, or it is not clear which.
    """
    known = ", ".join(config.streams) or "there are none"
    if wanted is None and len(config.streams) == 1:
        return next(iter(config.streams))
    if wanted in config.streams:
        return wanted
    message = "has several: say which one with --stream" if wanted is None else "is not one of the streams"
    raise ConfigError(
        str(file), [Problem("config.unknown_stream", "streams", None, wanted, message, f"known: {known}")]
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """A decoded frame and what came of it.

    Attributes:
        detections, tracks, result: None where the stream's `fps` left the frame out.
        result: its message, as on `<prefix>.frames.<stream>`.
        events: messages as on `<prefix>.events.<stream>.<type>`; those of the last frame have the ends of all tracks.
    """

    frame: Frame
    detections: Detections | None = None
    tracks: Tracks | None = None
    result: FrameResult | None = None
    events: list[TrackEvent | CountEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recording:
    """An opened recording.

    Attributes:
        frame_rate: frames a second; `analysed_rate` of them are analysed.
        length: how many frames it says it has; None: it does not say.
        frames: each of its frames, in order. Raises SourceError after the last one that can be read when that is not
            the end, and ModelError when inference fails.
    """

    frame_rate: float
    analysed_rate: float
    length: int | None
    frames: Iterator[Seen]


@dataclass(frozen=True, slots=True)
class _Departed:
    """A frame on its way: how it was letterboxed, and what will be found in it; None where nobody looks."""

    frame: Frame
    letterbox: Letterbox | None = None
    found: Future[Found] | None = None


class Analyst:
    """Analyses recordings, one after the other, with one model."""

    def __init__(self, settings: Settings, model: Loaded) -> None:
        """
        Raises:
            ReidError: the ReID model of the settings cannot be loaded.
        """
        self.settings = settings
        self._runtime, self._head, self._typical = model
        reid = settings.tracker.reid
        self._reid = load_reid(Path(reid), self._runtime.info.device) if is_file(reid) else None
        self._batch = _batch(settings.detector, self._runtime)
        self._ahead = 2 * self._runtime.parallel * self._batch + SPARE_FRAMES
        rules = [*settings.source.zones.items(), *settings.source.lines.items()]
        for name, rule in rules:
            if strange := sorted(set(rule.classes or ()) - set(self.model.names)):
                log.warning("the model has no such class", rule=name, classes=strange)

    @classmethod
    def load(cls, settings: Settings) -> Analyst:
        """With the model that the settings name.

        Raises:
            ModelError: it cannot be loaded.
            ReidError: nor can the ReID model.
        """
        return cls(settings, load_model(settings.detector, features=settings.tracker.reid == DETECTOR))

    @property
    def model(self) -> ModelInfo:
        return self._runtime.info

    @contextmanager
    def open(self, file: Path) -> Iterator[Recording]:
        """A video file, or a folder of pictures.

        Raises:
            SourceError: it cannot be read.
        """
        config = self._source_config(file)
        with open_source(config) as source, ThreadPoolExecutor(self._runtime.parallel, "infer") as inferring:
            rate = _rate(self.settings, source)
            session = _Session(self.settings, file, self.model, self._reid, rate)
            frames = _frames(session.stream, source, config.masks)
            with closing(read_ahead(self._departures(frames, inferring), self._ahead)) as departures:
                length = getattr(source, "frame_count", None)
                yield Recording(source.frame_rate or DEFAULT_RATE, rate, length, _seen(departures, session))

    def _source_config(self, file: Path) -> StreamConfig:
        """The file as this stream's source. All of it is decoded, so that a frame's number is that in the file."""
        update = {"url": str(file), "loop": False, "pace": "fast", "on_full": "block", "decoder": "cpu", "token": None}
        if not file.is_dir():  # pictures have no times: `fps` says how far apart they are
            update["fps"] = None
        return self.settings.source.model_copy(update=update)

    def _departures(self, frames: Iterator[Frame], inferring: ThreadPoolExecutor) -> Generator[_Departed, None, None]:
        """Sends frames off to be inferred, as many at once as make a batch of one size."""
        sampler, shrinker = Sampler(self.settings.source.fps), Shrinker()
        batch: list[tuple[NDArray[np.uint8], Future[Found]]] = []
        letterbox: Letterbox | None = None

        def send() -> None:
            if batch:
                inferring.submit(self._infer, batch.copy())
                batch.clear()

        try:
            for frame in frames:
                if not sampler.takes(frame.pts_ns):
                    yield _Departed(frame)
                    continue
                if letterbox is None or letterbox.source != (frame.width, frame.height):
                    send()
                    letterbox = Letterbox.fit(frame.width, frame.height, self.model.image_size, self.model.input)
                    self._runtime.prepare(letterbox.height, letterbox.width)
                picture = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
                letterbox.pad(picture)
                frame.shrink(shrinker, picture, letterbox.place)
                found: Future[Found] = Future()
                batch.append((picture, found))
                if len(batch) == self._batch:
                    send()
                yield _Departed(frame, letterbox, found)
        except VigilError:
            raise
        except Exception as error:  # whatever a recording's pictures can make fail ends it, not those after it
            raise SourceError(Reason.CORRUPT, f"{type(error).__name__}: {error}") from error
        finally:
            send()

    def _infer(self, batch: list[tuple[NDArray[np.uint8], Future[Found]]]) -> None:
        pictures = [picture for picture, _ in batch]
        height, width = pictures[0].shape[:2]
        try:
            found = detect_on_device(self._runtime, pictures)
            if found is None:  # a runtime's outputs are its own memory: they are read before it is called again
                outputs = self._runtime.infer(pictures)
                found = [
                    decoded(self._head, self._typical, [output[n] for output in outputs], height, width, True)
                    for n in range(len(pictures))
                ]
        except Exception as error:  # whatever a runtime raises ends this recording, not those after it
            failed = ModelError(f"inference failed: {type(error).__name__}: {error}")
            for _, answer in batch:
                answer.set_exception(failed)
            return
        for (_, answer), one in zip(batch, found, strict=True):
            answer.set_result(one)


def followed(
    settings: Settings, stream: str, model: ModelInfo, rate: float, cadence: Cadence | None = None
) -> Following:
    """What follows a recording's objects, in `rate` analysed frames a second; `cadence`: where not all are analysed."""
    source, tracker = settings.source, settings.tracker
    lifecycle = Lifecycle(
        stream, SESSION, tracker.lost_after, model.names, source.zones, source.lines, source.ground,
        updates_s=tracker.updates,
    )  # fmt: skip
    return Following(new_tracker(tracker, rate), lifecycle, cadence)


class _Session:
    """Tracks, rules and messages of one recording."""

    def __init__(self, settings: Settings, file: Path, model: ModelInfo, reid: ReidModel | None, rate: float) -> None:
        self.stream = stream = settings.stream_of(file)
        self._reid, self._confidence = reid, settings.confidence
        self._following = followed(settings, stream, model, rate)
        self._composer = Composer(settings.site, model, settings.config_rev, settings.confidence)

    def take(self, departed: _Departed) -> Seen:
        """What comes of a frame, once its objects are found."""
        frame = departed.frame
        if departed.found is None or departed.letterbox is None:
            return Seen(frame)
        detections = self._known(Detections.in_source(departed.found.result(), departed.letterbox), frame)
        tracks, happened = self._following.analysed(frame, detections)
        events = self._told(happened)
        motions = self._following.lifecycle.motions(tracks.track_ids)
        result = self._composer.frame_result(frame, detections, tracks, frame.arrival_ns, motions)
        return Seen(frame, detections, tracks, result, events)

    def _known(self, detections: Detections, frame: Frame) -> Detections:
        """With what they look like, where a ReID model says so: of the objects that the service would ask it about."""
        if self._reid is None or not len(detections):
            return detections
        features = np.zeros((len(detections), self._reid.shape.length), np.float32)
        chosen = np.flatnonzero(detections.scores > self._confidence)[:OBJECTS]
        if len(chosen):
            (features[chosen],) = looks(self._reid, [(frame, detections.boxes[chosen])])
        return replace(detections, features=features)

    def finish(self) -> list[TrackEvent | CountEvent]:
        return self._told(self._following.lifecycle.finish())

    def _told(self, events: list[Event]) -> list[TrackEvent | CountEvent]:
        """The messages of events, and of the counts that are due."""
        counts = [self._composer.counted(report) for report in self._following.lifecycle.reports()]
        return [*(self._composer.event(event) for event in events), *counts]


def read_ahead(items: Generator[Item, None, None], count: int) -> Generator[Item, None, None]:
    """The same items, made in a thread of its own, up to `count` of them before they are asked for."""
    ready: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    room = threading.Semaphore(count)
    stopped = threading.Event()

    def read() -> None:
        try:
            for item in items:
                ready.put((item,))
                room.acquire()
                if stopped.is_set():
                    return
        finally:
            items.close()
            ready.put(None)

    with ThreadPoolExecutor(1, "read") as pool:
        reading = pool.submit(read)
        try:
            while (one := ready.get()) is not None:
                room.release()
                yield one[0]
            reading.result()
        finally:
            stopped.set()
            room.release()


def _frames(stream: str, source: Source, masks: PrivacyMasks | None) -> Iterator[Frame]:
    """The source's pictures as frames; they arrive and are taken at their media time."""
    clock = MediaClock(source.frame_rate)
    for seq, image in enumerate(source.frames()):
        now_ns = clock.read(image.pts, image.time_base)
        yield Frame(stream, SESSION, seq, now_ns, now_ns, now_ns, Clock.ARRIVAL, None, image, masks)


def _seen(departures: Iterator[_Departed], session: _Session) -> Iterator[Seen]:
    """What comes of every frame; one is held back, as all tracks end with the last."""
    broken: SourceError | None = None
    last: Seen | None = None
    try:
        for departed in departures:
            if last is not None:
                yield last
            last = session.take(departed)
    except SourceError as error:
        broken = error
    if last is not None:
        yield replace(last, events=[*last.events, *session.finish()])
    elif broken is None:
        broken = SourceError(Reason.NO_VIDEO, "not one frame can be decoded")
    if broken is not None:
        raise broken


def _rate(settings: Settings, source: Source) -> float:
    """Analysed frames a second."""
    return min([rate for rate in (settings.source.fps, source.frame_rate) if rate], default=DEFAULT_RATE)


def _batch(config: DetectorConfig, runtime: Runtime) -> int:
    wanted = LARGEST_BATCH if config.batch == "auto" else config.batch
    return min(wanted, runtime.max_batch)
