"""Writes a camera's own packets to a file as they are: nothing is decoded, nothing loses quality."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import av.error

from ingest.errors import VigilError
from ingest.recent import VideoFormat, VideoPacket

# What MP4 holds and browsers play from it, as far as they know the codec.
IN_MP4 = ("h264", "hevc", "av1", "vp9", "mpeg4")


class ClipError(VigilError):
    """Packets could not be made a file."""

    code = "media.clip"


def ending_for(codec: str) -> str:
    """`mp4`, or `mkv` for what MP4 does not hold."""
    return "mp4" if codec in IN_MP4 else "mkv"


def write_clip(path: Path, video: VideoFormat, packets: Sequence[VideoPacket]) -> None:
    """Writes MP4, its index first so that players need not fetch it all, or Matroska; the clip begins at 0.

    Raises:
        ClipError: there is no packet, or FFmpeg refuses them.
        OSError: the file cannot be written.
    """
    if not packets:
        raise ClipError("no packet of that time is left: clips.memory is too small for the camera, or it sent nothing")
    is_mp4 = ending_for(video.codec) == "mp4"
    options = {"movflags": "+faststart"} if is_mp4 else {}
    try:
        with (
            av.open(io.BytesIO(video.sample), format="nut") as sample,
            av.open(str(path), "w", format="mp4" if is_mp4 else "matroska", options=options) as container,
        ):
            stream: Any = container.add_stream_from_template(sample.streams.video[0])
            if video.codec == "hevc" and is_mp4:
                stream.codec_tag = "hvc1"  # Apple's players know no other
            base = last = packets[0].dts
            for n, one in enumerate(packets):
                last = one.dts if n == 0 else max(one.dts, last + 1)  # cameras repeat times now and then
                packet = av.Packet(one.data)
                packet.stream, packet.time_base = stream, video.time_base
                packet.dts, packet.pts = last - base, max(one.pts, last) - base
                packet.duration, packet.is_keyframe = one.duration, one.is_key
                container.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        number: int = getattr(error, "errno", None) or errno.EINVAL
        if number in errno.errorcode and number != errno.EINVAL:  # the disk's, not FFmpeg's
            raise OSError(number, os.strerror(number), str(path)) from None
        raise ClipError(f"a clip of {video.codec} cannot be written: {error}") from None
