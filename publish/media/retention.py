"""Which pictures and clips have to go: those that are too old, and then the oldest of what is too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of a store: its key, its bytes, and when it was written, in seconds since the epoch."""

    key: str
    bytes: int
    at_s: float


def expired(stored: Iterable[Stored], now_s: float, max_age_s: float, max_bytes: int) -> Iterator[tuple[Stored, str]]:
    """Those to remove, the oldest first, each with the reason: `age` or `size`."""
    kept = sorted(stored, key=lambda one: (one.at_s, one.key))
    total = sum(one.bytes for one in kept)
    for one in kept:
        if now_s - one.at_s > max_age_s:
            reason = "age"
        elif total > max_bytes:
            reason = "size"
        else:
            return
        total -= one.bytes
        yield one, reason
