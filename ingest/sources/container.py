"""Opening and decoding through FFmpeg, with its errors told as reasons."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from types import TracebackType

import av
import av.error
from av.codec.hwaccel import HWAccel

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.redact import redact
from ingest.rtcp import SenderReports
from ingest.sources.nvdec import gpu_decoder

av.logging.set_level(av.logging.PANIC)

# More broken packets than this in a row, with no frame between them, end the session.
MAX_BROKEN_PACKETS = 100
# So many are enough to give up a GPU's decoder that has not decoded anything yet.
MAX_BROKEN_ON_GPU = 30
NO_GPU_DECODING = "the GPU does not decode this: its codec, profile or size, or too many streams at once"


class Container:
    """A video container or session read by FFmpeg, decoded by a GPU or in software on one thread.

    One thread a stream: frame threading would hold back a frame per thread, and streams outnumber cores anyway.
    A GPU that cannot decode it hands over to the CPU once, for the rest of the connection; `fallback` then says why.

    Attributes:
        gpu: number of the GPU that wants the frames; set before entering.
    """

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self.options: dict[str, str] = {}
        self._container: av.container.InputContainer | None = None
        self.frame_rate: float | None = None
        self.decode_s = 0.0
        self.gpu: int | None = None
        self.decoder = "cpu"
        self.fallback: str | None = None
        self.reports = SenderReports()
        self._proven = False  # whether the decoder has decoded anything

    def __enter__(self) -> Container:
        on_gpu = self._config.decoder == "nvdec" or (self._config.decoder == "auto" and self.gpu is not None)
        accelerator, self.fallback = gpu_decoder(self.gpu or 0) if on_gpu else (None, None)
        self._open(accelerator)
        return self

    def _open(self, accelerator: HWAccel | None) -> None:
        try:
            self._container = av.open(
                str(self._config.file_path) if self._config.is_file else self._config.url,
                options=self.options,
                timeout=(self._config.connect_timeout, self._config.read_timeout),
                metadata_errors="ignore",
                hwaccel=accelerator,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise source_error(error, opening=True) from None
        self.reports = SenderReports()
        video = next(iter(self._container.streams.video), None)
        if video is None:
            self._container.close()
            raise SourceError(Reason.NO_VIDEO, f"no video stream in {redact(self._config.url)}")
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        self._video = video
        self.frame_rate = float(video.average_rate) if video.average_rate else None
        self.decoder = "nvdec" if accelerator else "cpu"
        if accelerator and not video.codec_context.is_hwaccel:
            self._decodes_on_cpu(NO_GPU_DECODING)

    def _decodes_on_cpu(self, reason: str) -> None:
        self.decoder, self.fallback = "cpu", reason

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def description(self) -> str:
        """Codec, size, rate and a decoder worth a word, for people: `h264 1920x1080 25 fps nvdec`."""
        context = self._video.codec_context
        rate = f" {self.frame_rate:g} fps" if self.frame_rate else ""
        decoder = f" {self.decoder}" if self.decoder != "cpu" or self.fallback else ""
        return f"{context.name} {context.width}x{context.height}{rate}{decoder}"

    def frames(self) -> Iterator[av.VideoFrame]:
        try:
            yield from self._decoded()
        except SourceError as error:
            if self.decoder == "cpu" or self._proven or self._container is None:
                raise
            self._container.close()
            self._decodes_on_cpu(error.detail)
            self._open(None)
            yield from self._decoded()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        assert self._container is not None, "enter the source first"
        broken = 0
        try:
            for packet in self._container.demux(self._video):
                self.reports.heed(packet)
                began = time.perf_counter()
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    gpu_fails = self.decoder == "nvdec" and not self._proven and broken > MAX_BROKEN_ON_GPU
                    if broken > MAX_BROKEN_PACKETS or gpu_fails:
                        raise
                    continue
                self.decode_s = time.perf_counter() - began
                for frame in frames:
                    broken = 0
                    if not self._proven:
                        self._proven = True
                        if self.decoder == "nvdec" and frame.format.name != "cuda":
                            self._decodes_on_cpu(NO_GPU_DECODING)  # FFmpeg went over to its own decoder
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
