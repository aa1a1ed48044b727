"""Pictures of streams one after the other, for who cannot play video: one is made of a frame, however many look.

Lives in one asyncio loop. For each stream that somebody watches there is one task, which asks for its pictures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ingest.errors import VigilError
from publish.media.still import Still, Stills

FPS = 5.0
MOST_FPS = 15.0
MOST_VIEWERS = 32
MAX_SIDE_PX = 1280
MOST_BYTES = 2 << 20
# After how long without a picture viewers are let go of: they see why when they ask again.
PATIENCE_S = 10.0
RETRY_S = 0.5
# What a worker says when its newest picture is one that we have.
SAME = "stream.same_picture"


class CrowdedError(VigilError):
    """As many watch as may."""

    code = "preview.too_many_viewers"


@dataclass(eq=False, slots=True)
class Viewer:
    """One who watches; `latest` is what that one has yet to take."""

    fps: float
    latest: Still | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    failure: VigilError | None = None


class Moving:
    """Makes as many pictures a second as the quickest viewer of a stream wants."""

    def __init__(self, stills: Stills) -> None:
        self._stills = stills
        self._viewers: dict[str, set[Viewer]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._viewers.values()))

    def join(self, stream: str, fps: float) -> Viewer:
        """Raises CrowdedError."""
        if len(self) >= MOST_VIEWERS:
            raise CrowdedError(f"{MOST_VIEWERS} watch already, as many as may")
        viewer = Viewer(fps)
        self._viewers.setdefault(stream, set()).add(viewer)
        if stream not in self._tasks:
            self._tasks[stream] = asyncio.create_task(self._make(stream), name=f"pictures of {stream}")
        return viewer

    def leave(self, stream: str, viewer: Viewer) -> None:
        viewers = self._viewers.get(stream, set())
        viewers.discard(viewer)
        if not viewers and stream in self._tasks:
            self._viewers.pop(stream, None)
            self._tasks.pop(stream).cancel()

    async def pictures(self, viewer: Viewer) -> AsyncIterator[Still]:
        """The newest picture whenever the viewer has time for one, at most as often as that one wants.

        Raises:
            VigilError: there have been none for a while.
        """
        while True:
            await viewer.news.wait()
            viewer.news.clear()
            if viewer.failure is not None:
                raise viewer.failure
            if (still := viewer.latest) is not None:
                viewer.latest = None
                yield still
                await asyncio.sleep(1 / viewer.fps)

    async def _make(self, stream: str) -> None:
        last: Still | None = None
        had_one_s = time.monotonic()
        while viewers := self._viewers.get(stream):
            began_s = time.monotonic()
            pause_s = 1 / max(viewer.fps for viewer in viewers)
            try:
                had = None if last is None else (last.session, last.seq)
                last = await self._stills.still(stream, True, MAX_SIDE_PX, MOST_BYTES, had)
            except VigilError as error:
                if error.code != SAME:
                    pause_s = RETRY_S
                if time.monotonic() - had_one_s > PATIENCE_S:
                    for viewer in viewers:
                        viewer.failure = error
                        viewer.news.set()
                    had_one_s = time.monotonic()
            else:
                had_one_s = time.monotonic()
                for viewer in viewers:
                    viewer.latest = last
                    viewer.news.set()
            await asyncio.sleep(max(0.0, pause_s - (time.monotonic() - began_s)))
