"""H.264 access units in Annex B's byte stream: what is in them, as far as who forwards them has to know."""

from __future__ import annotations

from typing import NamedTuple

_START = b"\x00\x00\x01"
IDR, SPS, PPS = 5, 7, 8
# Slices, of which each access unit has at least one (ITU-T H.264, table 7-1).
_SLICES = range(1, 6)


class AccessUnit(NamedTuple):
    """Attributes:
    is_idr: whether decoding can begin with it, given its parameter sets.
    parameters: the parameter sets in it, with start codes; empty without any.
    slices_at: where its first slice begins, with its start code.
    continues: whether that slice is not a picture's first (its first_mb_in_slice is not 0).
    """

    is_idr: bool
    parameters: bytes
    slices_at: int = 0
    continues: bool = False


def look(data: bytes) -> AccessUnit:
    """Looks at everything before the first slice's content, which is little."""
    parameters = b""
    at = data.find(_START)
    while 0 <= at < len(data) - len(_START):
        kind = data[at + len(_START)] & 0x1F
        if kind in _SLICES:
            header = at + len(_START) + 1
            return AccessUnit(kind == IDR, parameters, at, header < len(data) and not data[header] & 0x80)
        after = data.find(_START, at + len(_START))
        if kind in (SPS, PPS):
            end = after if after >= 0 else len(data)
            # A zero byte before the next start code is that code's.
            parameters += b"\x00" + data[at:end].rstrip(b"\x00")
        at = after
    return AccessUnit(False, parameters)
