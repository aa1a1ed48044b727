"""What goes with one stream's events: their pictures, and their clip."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ingest.frame import Frame
from publish.media.clips import Clips
from publish.media.pictures import Pictures
from publish.schema import Media, TrackEvent
from tracking.roster import BestNow
from tracking.tracks import Tracks


class Album:
    """In the worker's loop, which waits for nothing of it."""

    def __init__(self, pictures: Pictures | None, clips: Clips | None) -> None:
        self._pictures = pictures
        self._clips = clips
        self._frame: Frame | None = None

    def model_has(self, names: Sequence[str]) -> None:
        """The names of the model's classes, by id."""
        if self._pictures is not None:
            self._pictures.names = names

    def look(self, frame: Frame, tracks: Tracks, best: Sequence[BestNow]) -> None:
        """What is to be seen now; `best` are the tracks that were never seen better. Events of this frame follow."""
        self._frame = frame
        if self._pictures is not None:
            self._pictures.look(frame, tracks, best)

    def looked(self) -> None:
        """The frame is done with."""
        self._frame = None
        if self._pictures is not None:
            self._pictures.looked()

    def accompany(self, event: TrackEvent) -> TrackEvent:
        """The event, with the names of what is being made of it."""
        now_s = time.monotonic()
        media = self._pictures.of(event, now_s) if self._pictures is not None else None
        clip = self._clips.of(event, self._frame, now_s) if self._clips is not None else None
        if clip is not None:
            media = (media or Media()).model_copy(update={"clip": clip})
        return event if media is None else event.model_copy(update={"media": media})
