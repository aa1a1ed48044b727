"""When a track starts and when it has ended, and what it does in between: every start has exactly one end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.frame import Frame
from tracking.events import EndReason, Event, EventType
from tracking.rules.config import LineConfig, ZoneConfig
from tracking.rules.happening import Happening, Moment, Sighting
from tracking.rules.rules import Rules
from tracking.tracks import Tracks

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class _Life:
    """A track so far: where and when it was last seen."""

    started_at: int
    last: Sighting
    confidence: float = 0.0
    frames: int = 0
    classes: Counter[int] = field(default_factory=Counter)


class Lifecycle:
    """Follows the tracks of one session of one stream, and applies the stream's rules to them."""

    def __init__(
        self,
        stream: str,
        session: int,
        lost_after_s: float,
        names: Sequence[str],
        zones: Mapping[str, ZoneConfig],
        lines: Mapping[str, LineConfig],
    ) -> None:
        """`names` are the model's classes, by id."""
        self._stream = stream
        self._session = session
        self._lost_after_ns = round(lost_after_s * 1e9)
        self._names = names
        self._alive: dict[int, _Life] = {}
        self.rules = Rules(zones, lines, self._class_of)

    def __len__(self) -> int:
        return len(self._alive)

    def update(self, frame: Frame, tracks: Tracks) -> list[Event]:
        """What this frame brings; a track has ended when unseen for longer than `lost_after_s`.

        A track's start comes before all else that is told of it, and its end after.
        """
        events = []
        now = Moment(
            frame.seq, frame.pts_ns, frame.captured_at, frame.clock, frame.uncertainty_ns, frame.width, frame.height
        )
        boxes: list[Box] = [(x1, y1, x2, y2) for x1, y1, x2, y2 in tracks.boxes.tolist()]
        columns = (tracks.track_ids.tolist(), boxes, tracks.scores.tolist(), tracks.class_ids.tolist())
        for track_id, box, score, class_id in zip(*columns, strict=True):
            life = self._alive.get(track_id)
            is_new = life is None
            if life is None:
                life = self._alive[track_id] = _Life(frame.captured_at, Sighting(now, box))
            life.last = Sighting(now, box)
            life.confidence = max(life.confidence, score)
            life.frames += 1
            life.classes[class_id] += 1
            if is_new:
                events.append(self._event(EventType.TRACK_STARTED, track_id, life))
        events += [self._told(happening) for happening in self.rules.update(now, tracks, boxes)]
        for track_id, life in list(self._alive.items()):
            if frame.pts_ns - life.last.at.pts_ns > self._lost_after_ns:
                events += self._end(track_id, life, EndReason.LOST)
        return events

    def finish(self) -> list[Event]:
        """Ends what is still alive: the session is over."""
        lives = list(self._alive.items())
        return [event for track_id, life in lives for event in self._end(track_id, life, EndReason.SESSION_ENDED)]

    def _end(self, track_id: int, life: _Life, reason: EndReason) -> list[Event]:
        events = [self._told(happening) for happening in self.rules.ended(track_id, life.last, reason)]
        events.append(self._event(EventType.TRACK_ENDED, track_id, life, reason))
        del self._alive[track_id]
        return events

    def _class_of(self, track_id: int) -> str:
        return self._names[self._alive[track_id].classes.most_common(1)[0][0]]

    def _told(self, told: Happening) -> Event:
        return self._event(told.type, told.track_id, self._alive[told.track_id], told.reason, told)

    def _event(
        self,
        kind: EventType,
        track_id: int,
        life: _Life,
        reason: EndReason | None = None,
        told: Happening | None = None,
    ) -> Event:
        seen = told.seen if told is not None else life.last
        return Event(
            type=kind,
            stream=self._stream,
            session=self._session,
            seq=seen.at.seq,
            pts_ns=seen.at.pts_ns,
            captured_at=seen.at.captured_at,
            clock=seen.at.clock,
            uncertainty_ns=seen.at.uncertainty_ns,
            track_id=track_id,
            class_id=life.classes.most_common(1)[0][0],
            confidence=life.confidence,
            box=seen.box,
            frame_width=seen.at.width,
            frame_height=seen.at.height,
            started_at=life.started_at,
            frames=life.frames,
            reason=reason,
            place=told.place if told is not None else None,
            number=told.number if told is not None else 1,
            direction=told.direction if told is not None else None,
            duration_s=told.duration_s if told is not None else None,
            count=told.count if told is not None else None,
        )
