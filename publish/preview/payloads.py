"""Encoded pictures as RTP payloads: H.264 by RFC 6184 (packetization-mode 1), VP8 by RFC 7741.

The payloads of a picture are as long as they may be, and only its last ones shorter: packets of one length can be given
to the kernel in one call.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

# With headers, SRTP's tag, UDP and IPv6 below 1280 bytes, which every path carries.
MAX_PAYLOAD_BYTES = 1160

_START = b"\x00\x00\x01"
_SPS, _DELIMITER, _FILLER, _STAP_A, _FU_A = 7, 9, 12, 24, 28
_NRI, _TYPE = 0x60, 0x1F
_LENGTH = struct.Struct(">H")


def payloads(codec: str, data: bytes) -> list[bytes]:
    """Those of one picture; `codec` is FFmpeg's name, `h264` (Annex B) or `vp8`."""
    return _h264(data) if codec == "h264" else _vp8(data)


def profile_level_id(data: bytes) -> str | None:
    """Six hex digits that say what decodes an H.264 picture, from the parameter set in front of it."""
    return next((unit[1:4].hex() for unit in units(data) if unit[0] & _TYPE == _SPS and len(unit) >= 4), None)


def units(data: bytes) -> Iterator[bytes]:
    """The NAL units of Annex B, without start codes."""
    start = data.find(_START)
    while start >= 0:
        start += len(_START)
        end = data.find(_START, start)
        # What zeros are before a start code belongs to it, and no unit ends in one.
        unit = data[start : end if end >= 0 else None].rstrip(b"\x00")
        if unit:
            yield unit
        start = end


def _h264(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    small: list[bytes] = []
    for unit in units(data):
        if unit[0] & _TYPE in (_DELIMITER, _FILLER):
            continue  # RTP says where pictures end
        if small and _aggregated_bytes(small) + _LENGTH.size + len(unit) > MAX_PAYLOAD_BYTES:
            found.append(_aggregate(small))
            small = []
        if len(unit) > MAX_PAYLOAD_BYTES:
            found += _fragments(unit)
        else:
            small.append(unit)
    if small:
        found.append(_aggregate(small))
    return found


def _aggregated_bytes(several: list[bytes]) -> int:
    return 1 + sum(_LENGTH.size + len(unit) for unit in several)


def _aggregate(several: list[bytes]) -> bytes:
    """STAP-A (5.7.1) of several units, a single one as it is."""
    if len(several) == 1:
        return several[0]
    importance = max(unit[0] & _NRI for unit in several)
    return bytes([importance | _STAP_A]) + b"".join(_LENGTH.pack(len(unit)) + unit for unit in several)


def _fragments(unit: bytes) -> list[bytes]:
    """FU-A (5.8)."""
    indicator, kind = unit[0] & ~_TYPE | _FU_A, unit[0] & _TYPE
    room = MAX_PAYLOAD_BYTES - 2
    starts = range(1, len(unit), room)
    return [
        bytes([indicator, kind | (at == starts[0]) << 7 | (at == starts[-1]) << 6]) + unit[at : at + room]
        for at in starts
    ]


def _vp8(data: bytes) -> list[bytes]:
    room = MAX_PAYLOAD_BYTES - 1
    return [bytes([(at == 0) << 4]) + data[at : at + room] for at in range(0, len(data), room)]
