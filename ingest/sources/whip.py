"""WebRTC in, by WHIP: the stream waits for a publisher, whose connection `ingest/webrtc/` keeps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import av

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources.packets import PacketCounts

# Room for a reader that is late by one picture; what waits longer is older than it need be.
HANDOVER_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Picture:
    """A publisher's decoded picture, what it was encoded with, and how many seconds decoding took.

    `skipped` is how many pictures of the publication were not decoded, for want of a key frame or of time.
    """

    publication: int
    image: av.VideoFrame
    codec: str
    decode_s: float
    skipped: int


class Handover:
    """Pictures from a publisher's connection, in the worker's event loop, to the stream's reader, in its own thread.

    At most `HANDOVER_FRAMES` wait; when the reader is late the oldest goes, and `dropped` is called for it.
    Publications are numbered, so that pictures of one are never taken for another's.
    """

    def __init__(self, dropped: Callable[[], None]) -> None:
        self._dropped = dropped
        self._changed = threading.Condition()
        self._waiting: deque[Picture] = deque()
        self._publication = 0
        self._over: str | None = "nobody has published yet"
        self._closed = False

    # -- the publisher's side

    def begin(self) -> int:
        """A publication begins; returns its number."""
        with self._changed:
            self._publication += 1
            self._over = None
            return self._publication

    def put(self, picture: Picture) -> None:
        """Never blocks. A picture of a publication that is over goes nowhere."""
        with self._changed:
            if picture.publication != self._publication or self._over is not None:
                return
            if len(self._waiting) >= HANDOVER_FRAMES:
                self._drop_oldest()
            self._waiting.append(picture)
            self._changed.notify()

    def end(self, publication: int, detail: str) -> None:
        """The publication is over; `detail` tells a person why."""
        with self._changed:
            if publication == self._publication and self._over is None:
                self._over = detail
                self._changed.notify()

    # -- the reader's side

    def take(self, publication: int | None) -> Picture | None:
        """The next picture of `publication`, or of whichever comes, for None; waits for it. None: closed.

        Raises:
            SourceError: the publication is over.
        """
        with self._changed:
            while not self._closed:
                if publication is None:
                    self._forget_past()
                elif not self._waiting and (self._over is not None or publication != self._publication):
                    raise SourceError(Reason.LOST, self._over or "another publisher took over")
                if self._waiting:
                    if publication not in (None, self._waiting[0].publication):
                        raise SourceError(Reason.LOST, "another publisher took over")
                    return self._waiting.popleft()
                self._changed.wait()
            return None

    def close(self) -> None:
        """The stream is no longer read: whoever waits for a picture stops waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _forget_past(self) -> None:
        """Nobody read these before their publication was over."""
        while self._waiting and (self._over is not None or self._waiting[0].publication != self._publication):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._waiting.popleft()
        self._dropped()


class WhipSource:
    """A WHIP stream's pictures: waits for a publisher as long as it takes, ends with `lost` when that one is gone.

    Attributes:
        handover: where the pictures come from; set before entering.
    """

    frame_rate: float | None = None
    decoder = "cpu"
    fallback: str | None = None

    def __init__(self, config: SourceConfig) -> None:
        self.handover: Handover | None = None
        self.decode_s = 0.0
        self.description = ""
        self.packets = PacketCounts()

    def __enter__(self) -> WhipSource:
        if self.handover is None:
            raise SourceError(Reason.NO_VIDEO, "nobody can publish to it unless `vigil run` serves it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def frames(self) -> Iterator[av.VideoFrame]:
        assert self.handover is not None, "enter the source first"
        publication: int | None = None
        while (picture := self.handover.take(publication)) is not None:
            if publication is None:
                publication = picture.publication
                self.description = f"{picture.codec} {picture.image.width}x{picture.image.height} by WHIP"
            self.decode_s = picture.decode_s
            self.packets.broken = picture.skipped
            yield picture.image
