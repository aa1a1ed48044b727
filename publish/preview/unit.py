"""One encoded picture, cut into payloads once and laid out once, for however many viewers."""

from __future__ import annotations

from dataclasses import dataclass

from publish.preview.payloads import payloads
from publish.preview.wire import Video

# Linux takes at most 64 packets of one length, and 64 KiB, in one call (UDP_SEGMENT).
MOST_IN_RUN = 48


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive packets that go out in one call: all `packet_bytes` long, the last one perhaps shorter."""

    start: int
    end: int
    packet_bytes: int
    packets: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture's packets one after the other, with room for each one's header in front and SRTP's tag behind.

    Attributes:
        template: the bytes of all packets, headers and tags empty.
        packets: of each, where it begins and how long it is without the tag.
    """

    template: bytes
    packets: tuple[tuple[int, int], ...]
    runs: tuple[Run, ...]


class Unit:
    """`rtp` is its place on the view's timeline."""

    __slots__ = ("_layouts", "is_key", "payloads", "rtp", "size")

    def __init__(self, video: Video, rtp: int) -> None:
        self.rtp = rtp
        self.is_key = video.is_key
        self.payloads = payloads(video.codec, video.data)
        self.size = len(video.data)
        self._layouts: dict[tuple[int, int], Layout] = {}

    def laid_out(self, header_bytes: int, tag_bytes: int) -> Layout:
        """Viewers agree on few headers and tags, mostly one."""
        key = header_bytes, tag_bytes
        if key not in self._layouts:
            self._layouts[key] = _lay_out(self.payloads, *key)
        return self._layouts[key]


def _lay_out(several: list[bytes], header_bytes: int, tag_bytes: int) -> Layout:
    header, tag = bytes(header_bytes), bytes(tag_bytes)
    packets, at = [], 0
    for payload in several:
        packets.append((at, header_bytes + len(payload)))
        at += header_bytes + len(payload) + tag_bytes
    template = b"".join(header + payload + tag for payload in several)
    return Layout(template, tuple(packets), tuple(_runs([length + tag_bytes for _, length in packets])))


def _runs(lengths: list[int]) -> list[Run]:
    found: list[Run] = []
    first = at = start = 0
    for index, length in enumerate(lengths):
        at += length
        following = lengths[index + 1] if index + 1 < len(lengths) else None
        packets = index + 1 - first
        if following is None or length != lengths[first] or following > lengths[first] or packets == MOST_IN_RUN:
            found.append(Run(start, at, lengths[first], packets))
            first, start = index + 1, at
    return found
