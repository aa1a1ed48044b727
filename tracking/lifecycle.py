"""When a track starts and when it has ended, and what it does in between: every start has exactly one end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ingest.clock import NS, Clock
from ingest.frame import Frame
from tracking.events import (
    BestView,
    Change,
    CountReport,
    CountType,
    EndReason,
    Event,
    EventType,
    Identity,
    Motion,
    TrackSummary,
    TrackUpdate,
)  # fmt: skip
from tracking.path import thinned
from tracking.roster import BEST_SCORE, CONFIDENCE, DISTANCE, FIT, QUALITY, BestNow, Roster, Seen
from tracking.rules import ground as grounds
from tracking.rules.config import GroundConfig, LineConfig, ZoneConfig
from tracking.rules.geometry import anchors
from tracking.rules.happening import Happening, Moment, Sighting
from tracking.rules.lasting import Lasting
from tracking.rules.rules import Rules
from tracking.rules.tally import Kind
from tracking.speed import SPEED, STILL_HEIGHTS, STILL_MPS, VX, VY, heading
from tracking.tracks import Tracks
from tracking.updates import Updates

MOST_TOLD = 32
COUNTED = {EventType.ZONE_ENTERED: CountType.ZONE_COUNTED, EventType.LINE_CROSSED: CountType.LINE_COUNTED}


class Lifecycle:
    """Follows the tracks of one session of one stream, and applies the stream's rules to them.

    A track that is held, its box exactly where it was seen last, counts as seen there. One that coasts elsewhere
    without a detection is there still, and does not end; but it enters, leaves and crosses nothing until it is
    detected.
    """

    def __init__(
        self,
        stream: str,
        session: int,
        lost_after_s: float,
        names: Sequence[str],
        zones: Mapping[str, ZoneConfig],
        lines: Mapping[str, LineConfig],
        ground: GroundConfig | None = None,
        lasting: Lasting | None = None,
        updates_s: float | None = None,
    ) -> None:
        """`names` are the model's classes, by id; `lasting` is what the stream remembers of earlier sessions;
        `updates_s` lie between two updates of a track, None: there are none."""
        self._stream = stream
        self._session = session
        self._lost_after_s = lost_after_s
        self._names = names
        self._on_ground = ground is not None
        self._roster = Roster(
            len(names), round(lost_after_s * NS), grounds.UNKNOWN if ground is None else grounds.homography(ground)
        )
        self._now: Moment | None = None
        self._visited: defaultdict[int, list[str]] = defaultdict(list)
        self._updates = Updates(updates_s)
        self.identities: dict[int, Identity] = {}
        self._lasting = lasting or Lasting(zones, lines)
        self.rules = Rules(zones, lines, names, self._roster)

    def __len__(self) -> int:
        return len(self._roster)

    def update(self, frame: Frame, tracks: Tracks) -> list[Event]:
        """What this frame brings; a track has ended when it was not there for longer than `lost_after_s`.

        A track's start comes before all else that is told of it, and its end after.
        """
        now = self._now = Moment(
            frame.seq, frame.pts_ns, frame.captured_at, frame.clock, frame.uncertainty_ns, frame.width, frame.height
        )
        time_ns = self._lasting.timeline.advance(frame.session, frame.pts_ns, frame.captured_at)
        seen = self._roster.update(now, tracks)
        events = [self._start(one) for one in seen.started]
        events += [self._told(happening) for happening in self.rules.update(now, seen)]
        events += self._update(now, seen)
        self._warm(now, seen, time_ns)
        for track_id in seen.lost:
            events += self._end(track_id, EndReason.LOST)
        for tally in self._lasting.tallies.values():
            tally.advance(time_ns)
        return events

    def finish(self) -> list[Event]:
        """Ends what is still alive: the session is over."""
        return [event for track_id in self._roster.ids for event in self._end(track_id, EndReason.SESSION_ENDED)]

    def identified(self, track_id: int, identity: Identity) -> None:
        """Who a track is: told when it is seen next, and with all that is told of it from now on."""
        if track_id in self._roster:
            self.identities[track_id] = identity
            self._updates.note(self._roster.row(track_id), Change.IDENTITY)

    def best_now(self) -> list[BestNow]:
        """The tracks that were never seen better than in the latest frame."""
        return [] if self._now is None else self._roster.best_now(self._now.seq)

    def reports(self) -> list[CountReport]:
        """The counts that are due to be told by now; to be asked after each update."""
        found: list[CountReport] = []
        for (kind, place), tally in self._lasting.tallies.items():
            due = tally.report(self._lasting.timeline.now_ns)
            if due is not None and self._now is not None:
                at, (number, over_s, counts) = self._now, due
                found.append(CountReport(
                    kind, self._stream, self._session, at.seq, at.pts_ns, at.captured_at, at.clock, at.uncertainty_ns,
                    place, number, over_s, counts,
                ))  # fmt: skip
        return found

    def motion(self, track_id: int) -> Motion | None:
        """How a living track moves; None while that is not known."""
        speed = self._roster.number(track_id, FIT + SPEED)
        if speed < 0:
            return None
        least = STILL_MPS if self._on_ground else STILL_HEIGHTS
        goes = speed >= least
        to = heading(self._roster.number(track_id, FIT + VX), self._roster.number(track_id, FIT + VY)) if goes else None
        return Motion(speed, to, self._on_ground)

    def motions(self, track_ids: NDArray[np.int64]) -> list[Motion | None] | None:
        """How tracks of the last frame move in metres; None where the ground is not known."""
        if not self._on_ground:
            return None
        alive = set(self._roster.ids)
        return [self.motion(one) if one in alive else None for one in track_ids.tolist()]

    def _warm(self, now: Moment, seen: Seen, time_ns: int) -> None:
        """Enters the time since objects were seen before at where they are now."""
        aspect = now.width / now.height
        feet = anchors(seen.boxes, "bottom_center", now.width, now.height)
        self._lasting.heat.add(feet, np.minimum(seen.unseen_s, self._lost_after_s), aspect, time_ns)

    def _start(self, track_id: int) -> Event:
        last = self._roster.last(track_id)
        quality = self._roster.number(track_id, QUALITY)
        self._updates.started(self._roster.row(track_id), quality, last.at.pts_ns)
        return self._event(EventType.TRACK_STARTED, track_id, last)

    def _update(self, now: Moment, seen: Seen) -> list[Event]:
        """What has changed of the tracks seen in this frame, where it is time to tell."""
        return [
            self._event(
                EventType.TRACK_UPDATED, seen.ids[n], seen.sighting(n, now), number=number,
                motion=self.motion(seen.ids[n]),
                update=TrackUpdate(tuple(changed), self._best(seen.ids[n]), tuple(self._visited[seen.ids[n]])),
            )
            for n, number, changed in self._updates.due(seen.rows, self._roster.floats, now.pts_ns)
        ]  # fmt: skip

    def _end(self, track_id: int, reason: EndReason) -> list[Event]:
        last = self._roster.last(track_id)
        told = self.rules.ended(track_id, self._roster.row(track_id), last, reason)
        events = [self._told(happening) for happening in told]
        events.append(
            self._event(EventType.TRACK_ENDED, track_id, last, reason=reason, summary=self._summary(track_id))
        )
        self._visited.pop(track_id, None)
        self.identities.pop(track_id, None)
        self._roster.remove(track_id)
        return events

    def _told(self, told: Happening) -> Event:
        if told.type in COUNTED:
            class_name = self._names[self._roster.top_class(told.track_id)]
            tally = self._lasting.tallies[COUNTED[told.type], told.place]
            tally.add(Kind(class_name, told.direction), self._lasting.timeline.now_ns)
        visited = self._visited[told.track_id] if told.type is EventType.ZONE_ENTERED else None
        if visited is not None and told.place not in visited:
            visited.append(told.place)
            self._updates.note(self._roster.row(told.track_id), Change.ZONES)
        return self._event(
            told.type, told.track_id, told.seen, reason=told.reason, place=told.place, number=told.number,
            direction=told.direction, duration_s=told.duration_s, count=told.count, motion=self.motion(told.track_id),
        )  # fmt: skip

    def _best(self, track_id: int) -> BestView:
        best = self._roster.best(track_id)
        score = self._roster.number(track_id, BEST_SCORE)
        return BestView(best.at.seq, best.at.pts_ns, best.at.captured_at, best.box, score)

    def _summary(self, track_id: int) -> TrackSummary:
        roster = self._roster
        last = roster.last(track_id)
        began, (_, pts_ns, _, _, _, width, height) = roster.first(track_id), last.at
        path = roster.path(track_id)
        x1, _, x2, y2 = last.box
        end = np.array([[pts_ns / NS, (x1 + x2) / 2 / width, y2 / height]])
        if end[0, 0] > path[-1, 0]:
            path = np.concatenate([path, end])
        pixels = thinned(path, MOST_TOLD, width / height) * (1, width, height)
        return TrackSummary(
            best=self._best(track_id),
            class_confidence=roster.class_confidence(track_id),
            duration_s=(pts_ns - began.pts_ns) / NS,
            distance=roster.number(track_id, DISTANCE),
            on_ground=self._on_ground,
            path=tuple((at_s, x, y) for at_s, x, y in pixels.tolist()),
            zones=tuple(self._visited[track_id]),
        )

    def _event(self, kind: EventType, track_id: int, seen: Sighting, **details: Any) -> Event:
        roster = self._roster
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
            class_id=roster.top_class(track_id),
            confidence=roster.number(track_id, CONFIDENCE),
            box=seen.box,
            frame_width=seen.at.width,
            frame_height=seen.at.height,
            started_at=roster.first(track_id).captured_at,
            frames=roster.frames(track_id),
            identity=self.identities.get(track_id),
            **details,
        )


def warm_up() -> None:
    """Compiles what the rules need, or loads it."""
    zone = ZoneConfig(polygon=[(0, 0), (1, 0), (1, 1)], dwell=1, stopped=1, loiter=1, classes=("",), abandoned=1)
    line = LineConfig(start=(0.5, 0), end=(0.5, 1))
    followed = Lifecycle("", 0, 1.0, ("", "person"), {"": zone}, {"": line}, updates_s=1.0)
    for count in (1, 2):
        boxes = np.array([[8, 8, 16, 16]] * count, np.float32)
        ids, rows = np.arange(count, dtype=np.int64), np.zeros(count, np.int32)
        frame = Frame("", 0, count, count, 0, 0, Clock.ARRIVAL, None, av.VideoFrame(32, 32, "yuv420p"))
        followed.update(frame, Tracks(ids, boxes, np.ones(count, np.float32), rows, rows))
