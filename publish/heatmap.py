"""A heat map as a picture: to be laid over the camera's own, as it is see-through where nobody was."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

# Pixels of the picture for each cell of the map.
CELL_PX = 10
# From where somebody was to where most were: dark blue, cyan, green, yellow, red, and how much hides what is beneath.
COLOURS = ((20, 20, 120, 60), (0, 160, 220, 120), (40, 200, 80, 160), (250, 220, 40, 190), (220, 30, 20, 220))


def png(seconds: Sequence[Sequence[float]]) -> bytes:
    """An indexed PNG of rows of equal length. Colours go by the square root of the share of the largest value, as where
    objects stand is far warmer than where they walk."""
    most = max((value for row in seconds for value in row), default=0.0)
    lines = []
    for row in seconds:
        indices = bytes(
            0 if value <= 0 else 1 + round(254 * (value / most) ** 0.5) for value in row for _ in range(CELL_PX)
        )
        lines += [b"\0" + indices] * CELL_PX  # each line begins with its filter: none
    width, height = len(lines[0]) - 1 if lines else 1, len(lines) or 1
    body = zlib.compress(b"".join(lines) or b"\0\0", 6)
    palette = [(0, 0, 0, 0), *(_colour(n / 254) for n in range(255))]
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", b"".join(bytes(colour[:3]) for colour in palette)),
        _chunk(b"tRNS", bytes(colour[3] for colour in palette)),
        _chunk(b"IDAT", body),
        _chunk(b"IEND", b""),
    ])  # fmt: skip


def _colour(part: float) -> tuple[int, ...]:
    at = part * (len(COLOURS) - 1)
    first = min(int(at), len(COLOURS) - 2)
    return tuple(round(a + (b - a) * (at - first)) for a, b in zip(COLOURS[first], COLOURS[first + 1], strict=True))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
