"""The snapshots of one stream's events: which frames are kept for them, and what is made of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import structlog

from ingest.frame import Frame
from publish.media.allowance import Allowance
from publish.media.config import SnapshotsConfig
from publish.media.darkroom import Darkroom
from publish.media.jpeg import Box, Drawn, JpegError, drawn_on, fitted, jpeg, part
from publish.media.keys import crop_key, snapshot_key
from publish.media.views import View, Views
from publish.schema import Media, TrackEvent
from publish.schema.composer import when
from tracking.events import EventType
from tracking.roster import BestNow
from tracking.tracks import Tracks

log = structlog.get_logger()

# A view takes the place of one that is kept when it is better by so much: a track that comes nearer would otherwise
# have a picture made of each frame. About a sixth in size, or in what the detector is sure of.
CLEARLY_BETTER = 1.15
# Seconds of media time between frames of which pictures are kept; a track that has none yet does not wait.
APART_S = 0.2


@dataclass(slots=True)
class _Kept:
    """What the loop knows of a track's view."""

    quality: float
    seq: int
    captured_at: int


class Pictures:
    """Decides in the worker's loop, with nothing but numbers; the darkroom does the rest.

    A frame is kept for as long as work on it waits; of a track only JPEGs are kept.
    """

    def __init__(self, stream: str, config: SnapshotsConfig, darkroom: Darkroom, names: Sequence[str]) -> None:
        """`names` are the model's classes, by id."""
        self.names = names
        self._stream = stream
        self._config = config
        self._darkroom = darkroom
        self._allowance = Allowance(config.per_minute)
        self._kept: dict[str, _Kept] = {}  # by track_uid: of living tracks, and gone with them
        self._views = Views(config.memory)  # the thread's, and so is what it has made last
        self._made: tuple[tuple[int, int], bytes] | None = None
        self._now: tuple[Frame, Tracks] | None = None
        self._last_pts_ns: int | None = None

    # -- in the loop

    def look(self, frame: Frame, tracks: Tracks, best: Sequence[BestNow]) -> None:
        """What is to be seen now; `best` are the tracks that were never seen better. Events of this frame follow."""
        self._now = frame, tracks
        uids = {one.track_id: f"{frame.stream}/{frame.session}/{one.track_id}" for one in best}
        recent = self._last_pts_ns is not None and 0 <= frame.pts_ns - self._last_pts_ns < APART_S * 1e9
        wanted: dict[str, BestNow] = {}
        for one in best:
            kept = self._kept.get(uids[one.track_id])
            if kept is None or (not recent and one.quality >= CLEARLY_BETTER * kept.quality):
                wanted[uids[one.track_id]] = one
        if not wanted:
            return
        boxes = {uid: one.box for uid, one in wanted.items()}
        if not self._darkroom.take(partial(self._keep, frame, boxes, self._labels(tracks)), frame):
            self._count("dropped")
            return
        self._last_pts_ns = frame.pts_ns
        for uid, one in wanted.items():
            self._kept[uid] = _Kept(one.quality, frame.seq, frame.captured_at)

    def looked(self) -> None:
        """The frame is done with."""
        self._now = None

    def of(self, event: TrackEvent, now_s: float) -> Media | None:
        """The pictures of an event, which are being made; None when it gets none. `now_s`: monotonic seconds."""
        ended = event.type is EventType.TRACK_ENDED
        kept = self._kept.pop(event.track_uid, None) if ended else self._kept.get(event.track_uid)
        pictured = self._pictured(event, kept, now_s)
        if pictured is None and ended and kept is not None:
            self._darkroom.take(partial(self._forget, event.track_uid))
        return pictured

    def _pictured(self, event: TrackEvent, kept: _Kept | None, now_s: float) -> Media | None:
        if event.type not in self._config.events:
            return None
        here = None if event.reason is not None else self._here(event.track_id)
        if here is None and kept is None:
            return None
        if not self._allowance.take(now_s):
            self._count("limited")
            return None
        at = event.captured_at
        keys = {
            "crop": crop_key(self._stream, at, event.event_id) if self._config.crop else None,
            "snapshot": snapshot_key(self._stream, at, event.event_id) if self._config.frame else None,
        }
        if here is not None:
            frame, tracks, box = here
            work: partial[None] = partial(self._write_frame, frame, box, self._labels(tracks), keys)
            keeps: Frame | None
            keeps, seq, captured_at = frame, frame.seq, frame.captured_at
        else:
            assert kept is not None, "there was no frame and no view"
            work = partial(self._write_view, event.track_uid, keys, event.type is EventType.TRACK_ENDED)
            keeps, seq, captured_at = None, kept.seq, kept.captured_at
        if not self._darkroom.take(work, keeps):
            self._count("dropped")
            return None
        return Media(**keys, seq=seq, captured_at=when(captured_at))

    def _here(self, track_id: int) -> tuple[Frame, Tracks, Box] | None:
        """The present frame, and where in it the track is."""
        if self._now is None:
            return None
        frame, tracks = self._now
        rows = np.flatnonzero(tracks.track_ids == track_id)
        if not len(rows):
            return None
        x1, y1, x2, y2 = tracks.boxes[rows[0]].tolist()
        return frame, tracks, (x1, y1, x2, y2)

    def _labels(self, tracks: Tracks) -> list[Drawn]:
        if not self._config.boxes:
            return []
        return [
            Drawn((x1, y1, x2, y2), f"{self.names[class_id]} {track_id}", track_id)
            for (x1, y1, x2, y2), class_id, track_id in zip(
                tracks.boxes.tolist(), tracks.class_ids.tolist(), tracks.track_ids.tolist(), strict=True
            )
        ]

    def _count(self, outcome: str, kind: str = "snapshot", by: int = 1) -> None:
        self._darkroom.metrics.made.labels(self._stream, kind, outcome).inc(by)

    # -- in the darkroom's thread

    def _keep(self, frame: Frame, boxes: Mapping[str, Box], labels: list[Drawn]) -> None:
        for uid, box in boxes.items():
            try:
                whole = self._whole(frame, labels) if self._config.frame else None
                crop = self._crop(frame, box) if self._config.crop else None
            except JpegError as error:
                self._count("failed")
                log.warning("no picture of a track", stream=self._stream, code=error.code, error=str(error))
                continue
            if gone := self._views.keep(uid, View(crop, whole)):
                self._count("dropped", by=gone)

    def _write_frame(self, frame: Frame, box: Box, labels: list[Drawn], keys: Mapping[str, str | None]) -> None:
        self._write("crop", keys, lambda file: file.write_bytes(self._crop(frame, box)))
        self._write("snapshot", keys, lambda file: file.write_bytes(self._whole(frame, labels)))

    def _write_view(self, track_uid: str, keys: Mapping[str, str | None], last: bool) -> None:
        view = self._views.take(track_uid) if last else self._views.get(track_uid)
        if view is None:  # others' views have taken its room, which was counted then
            return
        self._write("crop", keys, lambda file: file.write_bytes(view.crop or b""))
        self._write("snapshot", keys, lambda file: file.write_bytes(view.frame or b""))

    def _forget(self, track_uid: str) -> None:
        self._views.take(track_uid)

    def _write(self, kind: str, keys: Mapping[str, str | None], make: Callable[[Path], object]) -> None:
        key = keys[kind]
        if key is not None:
            self._darkroom.write(self._stream, kind, key, make)

    def _crop(self, frame: Frame, box: Box) -> bytes:
        return jpeg(fitted(part(frame.bgr(), box), self._config.max_side), self._config.quality)

    def _whole(self, frame: Frame, labels: list[Drawn]) -> bytes:
        """The whole frame as a JPEG, made once for all who want it of one frame."""
        at = frame.session, frame.seq
        if self._made is None or self._made[0] != at:
            picture = drawn_on(frame.bgr(), labels) if labels else frame.bgr()
            self._made = at, jpeg(fitted(picture, self._config.max_side), self._config.quality)
        return self._made[1]
