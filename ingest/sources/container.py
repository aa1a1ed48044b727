"""Opening and decoding through FFmpeg, with its errors told as reasons."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import av
import av.error
import structlog
from av.codec.hwaccel import HWAccel

from ingest.activity import MARGIN_S, Calls
from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.redact import redact
from ingest.rtcp import SenderReports
from ingest.sources.backlog import Backlog
from ingest.sources.economy import Economy
from ingest.sources.hardware import quick_sync_decoder, vaapi_decoder
from ingest.sources.nvdec import gpu_decoder
from ingest.sources.packets import PacketCounts
from ingest.sources.parts import Parts
from ingest.sources.reasons import source_error, timed_out
from ingest.taps import PacketTap

log = structlog.get_logger()

av.logging.set_level(av.logging.PANIC)

# Formats that do not tell when frames are shown, only in which order they are decoded: FFmpeg passes the packets' times
# off as those of frames, which come in another order where there are B-frames.
WITHOUT_TIMES = ("avi",)
# Formats that deliver seconds at once, and of which FFmpeg leaves out what is too old.
IN_SEGMENTS = ("hls", "dash")
# What is left of a file's time-out for telling that opening it hangs.
TELLING_S = 1.0
# More broken packets than this in a row, with no frame between them, end the reading of a file.
MAX_BROKEN_PACKETS = 100
# So many are enough to give up a GPU's decoder that has not decoded anything yet.
MAX_BROKEN_ON_GPU = 30
NO_GPU_DECODING = "the GPU does not decode this: its codec, profile or size, or too many streams at once"
# Seconds; decoding and closing wait for nobody, but the machine may be busy.
DECODE_WITHIN_S = 10.0
CLOSE_WITHIN_S = 5.0


class Container:
    """A video container or session read by FFmpeg, decoded by a GPU or in software on one thread.

    One thread a stream: frame threading would hold back a frame per thread, and streams outnumber cores anyway.
    A GPU that cannot decode it hands over to the CPU once, for the rest of the connection; `fallback` then says why.

    A live source ends with a reason when nothing comes for `read_timeout`, and as well when packets come and none of
    them becomes a picture. The calls that may hang in spite of FFmpeg's time-outs are told to `calls`.

    Attributes:
        gpu: number of the GPU that wants the frames; set before entering.
        calls: who is told of calls into FFmpeg; set before entering.
        taps: who else wants the video's packets; set before entering.
        options: FFmpeg's, for the format and the protocols below it.
        format: FFmpeg's name of the container's format, where it is known beforehand.
    """

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self.options: dict[str, str] = {}
        self.format: str | None = None
        self._container: av.container.InputContainer | None = None
        self.frame_rate: float | None = None
        self.decode_s = 0.0
        self.gpu: int | None = None
        self.calls = Calls()
        self.taps: Sequence[PacketTap] = ()
        self.packets = PacketCounts()
        self.decoder = "cpu"
        self.fallback: str | None = None
        self.reports = SenderReports()
        self._wish = "cpu"  # the decoder to try
        self._accelerator: HWAccel | None = None
        self._skipped_before = 0  # packets, by earlier rounds and decoders
        self._proven = False  # whether the decoder has decoded anything

    def __enter__(self) -> Container:
        self._wish = self._config.decoder
        if self._wish == "auto":
            self._wish = "cpu" if self.gpu is None else "nvdec"
        if self._wish == "nvdec":
            self._accelerator, self.fallback = gpu_decoder(self.gpu or 0)
        elif self._wish == "vaapi":
            self._accelerator, self.fallback = vaapi_decoder()
        self._open()
        return self

    @property
    def _address(self) -> str:
        """What FFmpeg opens."""
        return self._config.url

    def _open(self) -> None:
        patience_s = self._config.connect_timeout
        # PyAV starts anew when it looks for streams; opening a file waits for nobody, so that its time-out can be held.
        file_s = max(0.0, patience_s - MARGIN_S - TELLING_S)
        self.calls.enter(2 * patience_s if self._config.is_live else file_s)
        began = time.monotonic()
        try:
            self._container = av.open(
                self._address,
                format=self.format,
                options=self.options,
                timeout=(self._config.connect_timeout, self._config.read_timeout),
                metadata_errors="ignore",
                hwaccel=self._accelerator,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise source_error(error, self._config, True, time.monotonic() - began) from None
        finally:
            self.calls.leave()
        self.reports = SenderReports()
        try:
            self._take_video(self._container)
        except SourceError:
            self._close()
            raise

    def _take_video(self, container: av.container.InputContainer) -> None:
        video = next(iter(container.streams.video), None)
        if video is None:
            raise SourceError(Reason.NO_VIDEO, f"no video stream in {redact(self._config.url)}")
        if video.codec_context is None:
            raise SourceError(Reason.CODEC, f"no decoder for the video in {redact(self._config.url)}")
        video.thread_type = "NONE"
        video.codec_context.thread_count = 1
        self._video = video
        self.frame_rate = float(video.average_rate) if video.average_rate else None
        for tap in self.taps:
            tap.begin(video, time.monotonic_ns())
        self._context, self.decoder = video.codec_context, "cpu"
        if self._accelerator and not video.codec_context.is_hwaccel:
            self._decodes_on_cpu(NO_GPU_DECODING)
        elif self._accelerator:
            self.decoder = self._wish
        elif self._wish == "qsv":
            context, self.fallback = quick_sync_decoder(video)
            if context is not None:
                self._context, self.decoder = context, "qsv"

    def _decodes_on_cpu(self, reason: str) -> None:
        self.decoder, self.fallback, self._accelerator, self._wish = "cpu", reason, None, "cpu"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for tap in self.taps:
            tap.end()
        if self._container is not None:
            self.calls.enter(CLOSE_WITHIN_S)
            self._container.close()
            self.calls.leave()
            self._container = None

    @property
    def description(self) -> str:
        """Codec, size, rate and a decoder worth a word, for people: `h264 1920x1080 25 fps nvdec`."""
        context = self._video.codec_context
        rate = f" {self.frame_rate:g} fps" if self.frame_rate else ""
        decoder = f" {self.decoder}" if self.decoder != "cpu" or self.fallback else ""
        return f"{context.codec.canonical_name} {context.width}x{context.height}{rate}{decoder}"

    def frames(self) -> Iterator[av.VideoFrame]:
        try:
            yield from self._decoded()
        except SourceError as error:
            if self.decoder == "cpu" or self._proven or self._container is None:
                raise
            self._close()
            self._decodes_on_cpu(error.detail)
            self._open()
            yield from self._decoded()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        self.packets.begin(time.monotonic())
        self._skipped_before = self.packets.skipped
        economy = None
        if self._config.fps is not None and self.decoder == "cpu":  # a GPU's decoder has nothing to save
            assert self._container is not None, "enter the source first"
            timed = self._container.format.name not in WITHOUT_TIMES
            economy = Economy(min(1 / self._config.fps, self._config.read_timeout / 2), timed)
        backlog = Backlog() if self._may_pass_over() else None
        parts = Parts(self._context.codec.canonical_name)
        for packet in self._demuxed(backlog):
            if packet.stream is not self._video:
                self._check_patience()
                continue
            self.reports.heed(packet)
            for tap in self.taps:
                tap.keep(packet, time.monotonic_ns())
            for whole in parts.take(packet):
                if backlog is None or not self._is_too_old(whole, backlog):
                    yield from self._shown(whole, economy)
        for whole in parts.rest():
            yield from self._shown(whole, economy)

    def _may_pass_over(self) -> bool:
        """Whether pictures may be left out when they are old; who wants every one waits for it (`on_full: block`)."""
        assert self._container is not None, "enter the source first"
        in_segments = self._container.format.name in IN_SEGMENTS
        return self._config.is_live and self._config.on_full != "block" and not in_segments

    def _is_too_old(self, packet: av.Packet[Any], backlog: Backlog) -> bool:
        was_behind, now = backlog.behind, time.monotonic()
        if backlog.passes_over(packet, now):
            self.packets.passed_over(now)
            if self.packets.late == 1:
                log.warning(
                    "pictures cannot be decoded in time; going on with the newest key frame each time",
                    code="source.behind", url=redact(self._config.url), mend="see `vigil plan`: lower the camera's "
                    "resolution or rate, set the stream's `fps`, or serve fewer cameras here",
                )  # fmt: skip
            return True
        if was_behind:
            self._context.flush_buffers()
        return False

    def _shown(self, packet: av.Packet[Any], economy: Economy | None) -> Iterator[av.VideoFrame]:
        """The pictures that can be shown now that this packet is here, none where fewer are wanted."""
        wanted = self._wanted(packet, economy)
        if not wanted:
            self.packets.kept(time.monotonic())
        for each in wanted:
            yield from self._pictures(each, economy)

    def _wanted(self, packet: av.Packet[Any], economy: Economy | None) -> list[av.Packet[Any]]:
        """The packets to decode now that this one is here."""
        if economy is None or packet.size == 0:  # the last one, which asks for what the decoder still has
            return [packet]
        wanted = economy.take(packet)
        self.packets.skipped = self._skipped_before + economy.passed_over
        self._context.skip_frame = "NONREF" if economy.references_only else "DEFAULT"
        if economy.keys_only and wanted:
            self._context.flush_buffers()  # what came in between is missed by nobody
        return wanted

    def _pictures(self, packet: av.Packet[Any], economy: Economy | None) -> Iterator[av.VideoFrame]:
        self.packets.arrived(packet.is_keyframe)
        began = time.perf_counter()
        frames = self._decode(packet)
        if economy is not None:
            economy.decoded(packet, frames)
        if not frames:
            self._check_patience()
            return
        self.decode_s = time.perf_counter() - began
        self.packets.decoded(time.monotonic())
        for frame in frames:
            if not self._proven:
                self._proven = True
                if self.decoder == "nvdec" and frame.format.name != "cuda":
                    self._decodes_on_cpu(NO_GPU_DECODING)  # FFmpeg went over to its own decoder
            yield frame

    def _demuxed(self, backlog: Backlog | None) -> Iterator[av.Packet[Any]]:
        """Packets of all streams: one that goes on without its video would never come back otherwise."""
        assert self._container is not None, "enter the source first"
        packets = self._container.demux()
        while True:
            self.calls.enter(self._config.read_timeout)
            began = time.monotonic()
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                raise source_error(error, self._config, False, time.monotonic() - began) from None
            finally:
                self.calls.leave()
            now = time.monotonic()
            waited_s = now - began
            if packet is None:
                return
            if backlog is not None:
                backlog.waited(waited_s, now)
            yield packet
            # At its time-out FFmpeg first hands out what its parser has kept, and would then wait as long again.
            if self._config.is_live and waited_s >= self._config.read_timeout:
                raise timed_out(self._config, waited_s)

    def _decode(self, packet: av.Packet[Any]) -> list[av.VideoFrame]:
        """The frames that the packet completes; none when it is broken."""
        self.calls.enter(DECODE_WITHIN_S)
        try:
            return self._context.decode(packet)
        except (av.error.FFmpegError, OSError) as error:
            self.packets.broke()
            unproven_gpu = self.decoder != "cpu" and not self._proven
            if unproven_gpu and not isinstance(error, av.error.InvalidDataError):
                raise source_error(error, self._config, False, 0.0) from None
            limit = MAX_BROKEN_ON_GPU if unproven_gpu else MAX_BROKEN_PACKETS
            if self.packets.broken_in_row > limit and (unproven_gpu or not self._config.is_live):
                raise source_error(error, self._config, False, 0.0) from None
            return []
        finally:
            self.calls.leave()

    def _check_patience(self) -> None:
        """Ends a live session whose packets do not become pictures."""
        if self._config.is_live and (failure := self.packets.fruitless(time.monotonic(), self._config.read_timeout)):
            raise failure


def tls_options(config: SourceConfig) -> dict[str, str]:
    """For protocols over TLS. FFmpeg by itself would accept any certificate."""
    if not config.tls_verify:
        return {"tls_verify": "0"}
    authorities = ssl.get_default_verify_paths().cafile
    return {"tls_verify": "1", **({"ca_file": authorities} if authorities else {})}
