"""What browsers play of what cameras send, and how they want it: H.264 in Annex B, VP8 as it is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.bitstream import BitStreamFilterContext

from ingest.annexb import look

# What every browser decodes (8 bits, 4:2:0), by FFmpeg's names; without reordered pictures.
PIXELS = ("yuv420p", "yuvj420p")
PROFILES = ("Baseline", "Constrained Baseline", "Main", "Constrained High", "High", "Progressive High")
RTP_TIME_BASE = Fraction(1, 90_000)


@dataclass(slots=True)
class PlayableVideo:
    """A connection's video. `context` is FFmpeg's, None where no browser could have sent what browsers do not play."""

    codec: str
    time_base: Fraction
    context: Any = None
    converter: BitStreamFilterContext | None = None
    parameters: bytes = b""
    parts: int = 1  # packets that a key frame comes in, as far as has been seen
    broken: str | None = None  # what FFmpeg says of its parameter sets, if it cannot use them

    @classmethod
    def of(cls, video: Any) -> PlayableVideo:
        context = video.codec_context
        codec = context.codec.canonical_name
        made = cls(codec, video.time_base, context)
        if codec == "h264" and (extradata := context.extradata):
            if extradata[0] == 1:  # as MP4 and RTMP have it, ISO/IEC 14496-15
                try:
                    made.converter = BitStreamFilterContext("h264_mp4toannexb", video)
                except (av.error.FFmpegError, ValueError) as error:
                    made.broken = str(error)
            else:
                made.parameters = look(bytes(extradata)).parameters
        return made

    def fault(self) -> str | None:
        """Why browsers do not play it, as far as that is told beforehand."""
        if self.codec not in ("h264", "vp8"):
            return f"browsers do not play {self.codec}"
        if self.codec != "h264" or self.context is None:
            return None
        if self.broken is not None:
            return f"its parameter sets are damaged ({self.broken})"
        if (profile := self.context.profile) and profile not in PROFILES:
            return f"browsers do not play H.264 of the profile {profile}"
        if (pixels := self.context.pix_fmt) and pixels not in (*PIXELS, "cuda", "vaapi", "qsv"):
            return f"browsers do not play pictures of the format {pixels}"
        return "its pictures are not sent in their order (B-frames)" if self.context.has_b_frames else None

    def convert(self, packet: av.Packet[Any]) -> bytes:
        """What is in the packet as browsers want it; nothing if it is damaged."""
        if self.converter is None:
            return bytes(packet)
        try:
            # The filter takes its packet away from whoever else has it.
            return b"".join(bytes(one) for one in self.converter.filter(av.Packet(bytes(packet))))
        except (av.error.FFmpegError, ValueError):
            self.converter.flush()
            return b""

    def begins(self, data: bytes) -> bytes | None:
        """A key frame with its parameter sets in front; None when it is none that decoding can begin with."""
        if self.codec == "vp8":
            return data if data and not data[0] & 1 else None
        unit = look(data)
        if unit.parameters:
            self.parameters = unit.parameters
        if not unit.is_idr or not self.parameters:
            return None
        return data if unit.parameters else self.parameters + data

    def more_of_key(self, packet: av.Packet[Any]) -> bytes | None:
        """The slices in a packet that goes on with a key frame; None: it does not.

        FFmpeg takes parameter sets for the beginning of a picture, and some send them before each slice of a key frame
        (GStreamer's `rtph264pay config-interval=-1`): it then comes in pieces, with one timestamp.
        """
        if self.codec != "h264" or not packet.is_keyframe:
            return None
        data = self.convert(packet)
        unit = look(data)
        return data[unit.slices_at :] if unit.is_idr and unit.continues else None
