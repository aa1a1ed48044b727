"""Accounts for every decoded frame of a stream: it is on its way, or its fate is counted.

`decoded = analysed + dropped (by reason) + skipped (by reason) + in flight` holds at every look, because decoded is
never counted by itself. The ledger also restores order: answers come back in any order, frames leave in capture order.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


# Frames that pass by the detector wait in order behind those at it, each with its picture: no more of them than it gets
# through while an answer takes a usual time.
MOST_PASSING = 8


class Fate(StrEnum):
    """What became of a frame. Dropped: there was no room or no detector. Skipped: it was not wanted."""

    ANALYSED = "analysed"
    DROPPED_RING = "dropped_ring"
    DROPPED_STALE = "dropped_stale"
    DROPPED_DETECTOR = "dropped_detector"
    DROPPED_ERROR = "dropped_error"
    SKIPPED_SAMPLE = "skipped_sample"
    SKIPPED_MOTION = "skipped_motion"
    SKIPPED_ADAPTIVE = "skipped_adaptive"


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    is_frame: bool
    done: bool = False
    result: Result | None = None


class FrameLedger(Generic[Item, Result]):
    """Thread-safe; no call blocks. Its size is bounded by the stream's ring slots and `MOST_PASSING`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[int, _Entry[Item, Result]] = OrderedDict()
        self._fates: Counter[Fate] = Counter()
        self._ticket = 0

    def count(self, fate: Fate) -> None:
        """A frame that was decoded and goes no further."""
        with self._lock:
            self._fates[fate] += 1

    def depart(self, item: Item) -> int:
        """A frame that goes to the detector; returns its ticket."""
        with self._lock:
            return self._add(_Entry(item, is_frame=True))

    def has_room(self) -> bool:
        """Whether another frame may pass by."""
        with self._lock:
            return self._has_room()

    def pass_by(self, item: Item, fate: Fate) -> bool:
        """A frame that does not go to the detector, and is released after those before it all the same.

        False when too many wait already: it is counted, and goes no further.
        """
        with self._lock:
            self._fates[fate] += 1
            room = self._has_room()
            if room:
                self._add(_Entry(item, is_frame=True, done=True))
            return room

    def withdraw(self, ticket: int) -> None:
        """Takes back a departure that did not happen."""
        with self._lock:
            del self._entries[ticket]

    def mark(self, item: Item) -> None:
        """Something to be released after the frames before it; it is not a frame itself."""
        with self._lock:
            self._add(_Entry(item, is_frame=False, done=True))

    def settle(self, ticket: int, fate: Fate, result: Result | None = None) -> Item | None:
        """The answer for a frame; returns the item, or None when it was settled before."""
        with self._lock:
            entry = self._entries.get(ticket)
            if entry is None or entry.done:
                return None
            entry.done, entry.result = True, result
            self._fates[fate] += 1
            return entry.item

    def unsettled(self) -> list[int]:
        """Tickets of the frames still on their way."""
        with self._lock:
            return [ticket for ticket, entry in self._entries.items() if not entry.done]

    def release(self) -> list[tuple[Item, Result | None]]:
        """Takes out, in capture order, everything settled that has nothing unsettled before it."""
        with self._lock:
            released = []
            while self._entries and next(iter(self._entries.values())).done:
                entry = self._entries.popitem(last=False)[1]
                released.append((entry.item, entry.result))
            return released

    def balance(self) -> tuple[dict[Fate, int], int]:
        """Frames by fate, and frames in flight."""
        with self._lock:
            return dict(self._fates), sum(not entry.done for entry in self._entries.values())

    def _has_room(self) -> bool:
        return sum(entry.is_frame and entry.done for entry in self._entries.values()) < MOST_PASSING

    def _add(self, entry: _Entry[Item, Result]) -> int:
        self._ticket += 1
        self._entries[self._ticket] = entry
        return self._ticket
