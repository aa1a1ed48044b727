"""Opening and decoding through FFmpeg, with its errors told as reasons."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from types import TracebackType

import av
import av.error

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.redact import redact

av.logging.set_level(av.logging.PANIC)

# More broken packets than this in a row, with no frame between them, end the session.
MAX_BROKEN_PACKETS = 100


class Container:
    """A video container or session read by FFmpeg, decoded in software on one thread.

    One thread a stream: frame threading would hold back a frame per thread, and streams outnumber cores anyway.
    """

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self.options: dict[str, str] = {}
        self._container: av.container.InputContainer | None = None
        self.frame_rate: float | None = None
        self.decode_s = 0.0

    def __enter__(self) -> Container:
        try:
            self._container = av.open(
                str(self._config.file_path) if self._config.is_file else self._config.url,
                options=self.options,
                timeout=(self._config.connect_timeout, self._config.read_timeout),
                metadata_errors="ignore",
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise source_error(error, opening=True) from None
        video = next(iter(self._container.streams.video), None)
        if video is None:
            self._container.close()
            raise SourceError(Reason.NO_VIDEO, f"no video stream in {redact(self._config.url)}")
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        self._video = video
        self.frame_rate = float(video.average_rate) if video.average_rate else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def description(self) -> str:
        """Codec, size and rate, for people: `h264 1920x1080 25 fps`."""
        context = self._video.codec_context
        rate = f" {self.frame_rate:g} fps" if self.frame_rate else ""
        return f"{context.name} {context.width}x{context.height}{rate}"

    def frames(self) -> Iterator[av.VideoFrame]:
        assert self._container is not None, "enter the source first"
        broken = 0
        try:
            for packet in self._container.demux(self._video):
                began = time.perf_counter()
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    if broken > MAX_BROKEN_PACKETS:
                        raise
                    continue
                self.decode_s = time.perf_counter() - began
                for frame in frames:
                    broken = 0
                    yield frame
        except (av.error.FFmpegError, OSError) as error:
            raise source_error(error, opening=False) from None


_BY_TYPE: list[tuple[tuple[type[BaseException], ...], Reason]] = [
    ((av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError, PermissionError), Reason.AUTH),
    ((av.error.HTTPNotFoundError, FileNotFoundError), Reason.NOT_FOUND),
    ((av.error.ExitError, TimeoutError), Reason.TIMEOUT),
    ((ConnectionRefusedError,), Reason.REFUSED),
    ((av.error.InvalidDataError, av.error.DecoderNotFoundError), Reason.CORRUPT),
]


def source_error(error: Exception, opening: bool) -> SourceError:
    """The reason behind an FFmpeg error; its words with credentials removed."""
    detail = redact(str(error))
    for types, reason in _BY_TYPE:
        if isinstance(error, types):
            return SourceError(reason, detail)
    if isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return SourceError(Reason.REFUSED, detail)
    return SourceError(Reason.REFUSED if opening else Reason.LOST, detail)
