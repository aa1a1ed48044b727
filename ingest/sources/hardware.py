"""Decoders in hardware other than NVIDIA's: VAAPI and Quick Sync, or why there is none."""

from __future__ import annotations

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available


def vaapi_decoder() -> tuple[HWAccel | None, str | None]:
    """FFmpeg's settings to decode on the first VAAPI device into the host's memory, or why that cannot be."""
    if "vaapi" not in hwdevices_available():
        return None, "this FFmpeg has no VAAPI: PyAV's wheels come without; build PyAV against the system's FFmpeg"
    settings = HWAccel("vaapi", allow_software_fallback=True)
    try:
        settings.create(av.Codec("h264", "r"))  # any codec that VAAPI knows will do to try the device
    except (av.error.FFmpegError, OSError, RuntimeError, NotImplementedError) as error:
        return None, f"FFmpeg cannot use a VAAPI device ({error}): it needs access to /dev/dri/renderD128"
    return settings, None


def quick_sync_decoder(stream: av.VideoStream) -> tuple[av.VideoCodecContext | None, str | None]:
    """Intel's own decoder for this video, or why there is none; that there is no device shows with the first packet."""
    name = f"{stream.codec_context.codec.canonical_name}_qsv"
    try:
        context = av.CodecContext.create(name, "r")
    except (av.error.FFmpegError, ValueError):
        return None, f"this FFmpeg has no decoder {name}"
    assert isinstance(context, av.VideoCodecContext)
    context.extradata = stream.codec_context.extradata
    context.width, context.height = stream.codec_context.width, stream.codec_context.height
    return context, None
