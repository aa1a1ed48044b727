"""When a track starts and when it has ended: every start has exactly one end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.frame import Clock, Frame
from tracking.events import EndReason, Event, EventType
from tracking.tracks import Tracks


class _Moment(NamedTuple):
    """A frame without its picture, which must not be kept."""

    seq: int
    pts_ns: int
    captured_at: int
    clock: Clock
    uncertainty_ns: int | None
    width: int
    height: int


@dataclass(slots=True)
class _Life:
    """A track so far: where and when it was last seen."""

    started_at: int
    last: _Moment
    box: list[float] = field(default_factory=list)
    confidence: float = 0.0
    frames: int = 0
    classes: Counter[int] = field(default_factory=Counter)


class Lifecycle:
    """Follows the tracks of one session of one stream."""

    def __init__(self, stream: str, session: int, lost_after_s: float) -> None:
        self._stream = stream
        self._session = session
        self._lost_after_ns = round(lost_after_s * 1e9)
        self._alive: dict[int, _Life] = {}

    def __len__(self) -> int:
        return len(self._alive)

    def update(self, frame: Frame, tracks: Tracks) -> list[Event]:
        """The starts and ends that this frame brings; a track has ended when unseen for longer than `lost_after_s`."""
        events = []
        now = _Moment(
            frame.seq, frame.pts_ns, frame.captured_at, frame.clock, frame.uncertainty_ns, frame.width, frame.height
        )
        columns = (tracks.track_ids, tracks.boxes, tracks.scores, tracks.class_ids)
        for track_id, box, score, class_id in zip(*(column.tolist() for column in columns), strict=True):
            life = self._alive.get(track_id)
            is_new = life is None
            if life is None:
                life = self._alive[track_id] = _Life(frame.captured_at, now)
            life.last, life.box = now, box
            life.confidence = max(life.confidence, score)
            life.frames += 1
            life.classes[class_id] += 1
            if is_new:
                events.append(self._event(EventType.TRACK_STARTED, track_id, life))
        for track_id, life in list(self._alive.items()):
            if frame.pts_ns - life.last.pts_ns > self._lost_after_ns:
                events.append(self._event(EventType.TRACK_ENDED, track_id, life, EndReason.LOST))
                del self._alive[track_id]
        return events

    def finish(self) -> list[Event]:
        """Ends what is still alive: the session is over."""
        events = [
            self._event(EventType.TRACK_ENDED, track_id, life, EndReason.SESSION_ENDED)
            for track_id, life in self._alive.items()
        ]
        self._alive.clear()
        return events

    def _event(self, kind: EventType, track_id: int, life: _Life, reason: EndReason | None = None) -> Event:
        return Event(
            type=kind,
            stream=self._stream,
            session=self._session,
            seq=life.last.seq,
            pts_ns=life.last.pts_ns,
            captured_at=life.last.captured_at,
            clock=life.last.clock,
            uncertainty_ns=life.last.uncertainty_ns,
            track_id=track_id,
            class_id=life.classes.most_common(1)[0][0],
            confidence=life.confidence,
            box=(life.box[0], life.box[1], life.box[2], life.box[3]),
            frame_width=life.last.width,
            frame_height=life.last.height,
            started_at=life.started_at,
            frames=life.frames,
            reason=reason,
        )
