"""Which video this machine decodes, and with what."""

from __future__ import annotations

from collections.abc import Callable

import av
from av.codec.codec import UnknownCodecError

from ingest.sources.hardware import vaapi_decoder
from ingest.sources.nvdec import hold_gpu

# What cameras send, by FFmpeg's names.
CODECS = {
    "h264": "H.264", "hevc": "H.265", "av1": "AV1", "vp8": "VP8", "vp9": "VP9", "mjpeg": "motion JPEG",
    "mpeg4": "MPEG-4", "mpeg2video": "MPEG-2",
}  # fmt: skip


def undecodable() -> list[str]:
    """The codecs, as people call them, for which there is no software decoder."""
    return [title for name, title in CODECS.items() if not _has_decoder(name)]


def _has_decoder(name: str) -> bool:
    try:
        return bool(av.Codec(name, "r"))
    except UnknownCodecError:
        return False


def hardware(names: tuple[str, ...]) -> dict[str, str | None]:
    """For each of `nvdec` and `vaapi` that is named: None when it can be used, or why it cannot. Starts the devices."""
    reasons: dict[str, Callable[[], str | None]] = {"nvdec": lambda: hold_gpu(0), "vaapi": lambda: vaapi_decoder()[1]}
    return {name: reasons[name]() for name in names}
