"""Video files: at their own speed or as fast as possible, once or looping."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import av
import av.error

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources.container import WITHOUT_TIMES, Container

# Formats without an index, in which a jump to the start lands somewhere after it.
WITHOUT_INDEX = ("mpegts", "mpeg", "h264", "hevc", "mjpeg", "m4v")


class FileSource(Container):
    """A video file; a looping one starts again at its end, and its timestamps with it."""

    def __init__(self, config: SourceConfig) -> None:
        super().__init__(config)
        self._loops = config.loop

    @property
    def _address(self) -> str:
        return str(self._config.file_path)

    def __enter__(self) -> FileSource:
        try:
            mode = Path(self._address).stat().st_mode
        except OSError as error:
            raise SourceError(Reason.NOT_FOUND, f"{self._address}: {error.strerror}") from None
        if not stat.S_ISREG(mode):  # opening a pipe that nobody writes to would never come back
            raise SourceError(Reason.REFUSED, f"{self._address} is no file")
        super().__enter__()
        return self

    @property
    def frame_count(self) -> int | None:
        """How many frames one round has by what the file says of itself; None: it does not say."""
        assert self._container is not None, "enter the source first"
        if self._video.frames or not self._container.duration or not self.frame_rate:
            return self._video.frames or None
        return round(self._container.duration / av.time_base * self.frame_rate)

    def frames(self) -> Iterator[av.VideoFrame]:
        assert self._container is not None, "enter the source first"
        untimed = self._container.format.name in WITHOUT_TIMES
        while True:
            empty = True
            for frame in super().frames():
                empty = False
                if untimed:
                    frame.pts = frame.dts
                yield frame
            if not self._loops:
                return
            if empty:
                raise SourceError(Reason.NO_VIDEO, f"no frame in {self._address} can be decoded")
            self._rewind()

    def _rewind(self) -> None:
        assert self._container is not None
        if self._container.format.name not in WITHOUT_INDEX:
            try:
                self._container.seek(self._container.start_time or 0)
                self._context.flush_buffers()
                return
            except (av.error.FFmpegError, OSError):
                pass  # one more way to get there
        self._close()
        self._open()
