"""When a track starts and when it has ended: every start has exactly one end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ingest.frame import Frame
from tracking.events import EndReason, Event, EventType
from tracking.tracks import Tracks


@dataclass(slots=True)
class _Life:
    """A track so far: where and when it was last seen, without keeping that frame's picture."""

    started_at: int
    seq: int = 0
    pts_ns: int = 0
    captured_at: int = 0
    frame_size: tuple[int, int] = (0, 0)
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
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
        for index, track_id in enumerate(tracks.track_ids.tolist()):
            life = self._alive.get(track_id)
            is_new = life is None
            if life is None:
                life = self._alive[track_id] = _Life(started_at=frame.captured_at)
            self._see(life, frame, tracks, index)
            if is_new:
                events.append(self._event(EventType.TRACK_STARTED, track_id, life))
        for track_id, life in list(self._alive.items()):
            if frame.pts_ns - life.pts_ns > self._lost_after_ns:
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

    @staticmethod
    def _see(life: _Life, frame: Frame, tracks: Tracks, index: int) -> None:
        life.seq, life.pts_ns, life.captured_at = frame.seq, frame.pts_ns, frame.captured_at
        life.frame_size = (frame.width, frame.height)
        x1, y1, x2, y2 = tracks.boxes[index].tolist()
        life.box = (x1, y1, x2, y2)
        life.confidence = max(life.confidence, float(tracks.scores[index]))
        life.frames += 1
        life.classes[int(tracks.class_ids[index])] += 1

    def _event(self, kind: EventType, track_id: int, life: _Life, reason: EndReason | None = None) -> Event:
        return Event(
            type=kind,
            stream=self._stream,
            session=self._session,
            seq=life.seq,
            pts_ns=life.pts_ns,
            captured_at=life.captured_at,
            track_id=track_id,
            class_id=life.classes.most_common(1)[0][0],
            confidence=life.confidence,
            box=life.box,
            frame_width=life.frame_size[0],
            frame_height=life.frame_size[1],
            started_at=life.started_at,
            frames=life.frames,
            reason=reason,
        )
