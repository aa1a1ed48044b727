"""Video files: at their own speed or as fast as possible, once or looping."""

from __future__ import annotations

from collections.abc import Iterator

import av

from ingest.errors import Reason, SourceError
from ingest.sources.container import Container


class FileSource(Container):
    """A video file; a looping one starts again at its end, and its timestamps with it."""

    def frames(self) -> Iterator[av.VideoFrame]:
        while True:
            empty = True
            for frame in super().frames():
                empty = False
                yield frame
            if not self._config.loop:
                return
            if empty:
                raise SourceError(Reason.NO_VIDEO, f"no frame in {self._config.url} can be decoded")
            assert self._container is not None
            self._container.seek(0)
            self._video.codec_context.flush_buffers()
