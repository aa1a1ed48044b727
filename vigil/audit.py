"""What a stream's attention would have missed of a recording, beside a detector that looks at every frame."""

from __future__ import annotations

from dataclasses import dataclass

from inference.model import ModelInfo
from ingest.clock import NS
from publish.schema import TrackEvent
from publish.schema.composer import Composer
from tracking.attention.attention import Attention, Look
from tracking.attention.cadence import Cadence
from tracking.attention.compare import Happened, unmatched
from tracking.events import Event
from vigil.recording import Seen, Settings, followed
from vigil.subscribe import event_line


@dataclass(frozen=True, slots=True)
class Audited:
    """Frames, how many of them the detector would have been asked about, and the events that differ, as lines.

    Attributes:
        events: how many there are when it looks at every frame.
        missed: those of them that are not told within half a second.
        added: those that are told beyond them.
    """

    frames: int
    asked: int
    events: int
    missed: list[str]
    added: list[str]


class Audit:
    """Lives through a recording as the service would with the stream's `attention`, its answers there at once."""

    def __init__(self, settings: Settings, stream: str, model: ModelInfo, rate: float) -> None:
        """`rate`: analysed frames a second, were all of them analysed."""
        self._attention = Attention(settings.source.attention)
        cadence = Cadence(settings.tracker.lost_after, settings.tracker.high_confidence)
        self._following = followed(settings, stream, model, rate, cadence)
        self._composer = Composer(settings.site, model, settings.config_rev, settings.confidence)
        self._all: list[tuple[Happened, str]] = []
        self._ours: list[tuple[Happened, str]] = []
        self._frames = self._asked = 0
        self._last_s = 0.0

    def take(self, seen: Seen) -> None:
        frame, attention = seen.frame, self._attention
        self._last_s = frame.pts_ns / NS
        self._all += [_noted(event, self._last_s) for event in seen.events if isinstance(event, TrackEvent)]
        if seen.detections is None:
            return
        self._frames += 1
        look = attention.look(frame)
        if look is Look.DETECT:
            self._asked += 1
            attention.asks(frame)
            _, events = self._following.analysed(frame, seen.detections)
            if self._following.view is not None:
                attention.told(self._following.view)
            self._note(events)
        elif attention.has_tracks:
            self._note(self._following.skipped(frame, look is Look.HOLD)[1])

    def finish(self) -> Audited:
        self._note(self._following.lifecycle.finish())
        missed, added = unmatched([one for one, _ in self._all], [one for one, _ in self._ours])
        return Audited(
            self._frames, self._asked, len(self._all), [self._all[n][1] for n in missed],
            [self._ours[n][1] for n in added],
        )  # fmt: skip

    def _note(self, events: list[Event]) -> None:
        self._ours += [_noted(self._composer.event(event), self._last_s) for event in events]


def _noted(event: TrackEvent, at_s: float) -> tuple[Happened, str]:
    happened = Happened(event.type.value, event.zone or event.line, event.direction, event.box, at_s)
    return happened, event_line(event)
