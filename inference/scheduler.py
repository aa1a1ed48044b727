"""Decides which waiting frames the device takes next. No clock, no thread, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# So many frames a stream makes up for when it was kept from offering any: enough to even out a busy machine's hiccups.
CREDIT = 4

Item = TypeVar("Item")
Stream = tuple[str, int]
"""A worker's id and the stream's number within it."""


@dataclass(slots=True)
class _Queue(Generic[Item]):
    """A stream's waiting frames, and its place in the order: the least `turn` is served next."""

    turn: float
    weight: float = 1.0
    waiting: deque[tuple[Hashable, Item]] = field(default_factory=deque)


class Scheduler(Generic[Item]):
    """Waiting frames by stream, served in proportion to the streams' weights.

    A live stream has one waiting frame at most: a newer one takes its place. A stream that must lose nothing queues
    behind itself; its sender's ring slots bound that queue. Each served frame moves its stream's turn on by 1 / weight
    (start-time fair queueing, Goyal et al., 1996), so that over any time the busy streams' shares are as their weights;
    a stream that
    had nothing waiting saves up `CREDIT` frames' worth of turns at most. A batch holds pictures of one size.
    """

    def __init__(self) -> None:
        self._queues: dict[Stream, _Queue[Item]] = {}
        self._now = 0.0  # the turn that was served last

    def __len__(self) -> int:
        return sum(len(queue.waiting) for queue in self._queues.values())

    def offer(
        self, stream: Stream, size: Hashable, item: Item, keep_all: bool = False, weight: float = 1.0
    ) -> Item | None:
        """Adds a frame and returns the older one that it replaces, if any."""
        queue = self._queues.setdefault(stream, _Queue(self._now))
        replaced = queue.waiting.pop()[1] if queue.waiting and not keep_all else None
        if not queue.waiting and replaced is None:
            queue.turn = max(queue.turn, self._now - CREDIT / weight)
        queue.weight = weight
        queue.waiting.append((size, item))
        return replaced

    def take(self, limits: Mapping[Hashable, int]) -> list[Item]:
        """Frames of one of the sizes in `limits`, at most so many, at most one of each stream."""
        waiting = [queue for queue in self._queues.values() if queue.waiting and queue.waiting[0][0] in limits]
        if not waiting:
            return []
        size = min(waiting, key=_turn).waiting[0][0]
        batch = sorted((queue for queue in waiting if queue.waiting[0][0] == size), key=_turn)[: limits[size]]
        self._now = max(self._now, batch[0].turn)
        for queue in batch:
            queue.turn += 1 / queue.weight
        return [queue.waiting.popleft()[1] for queue in batch]

    def streams(self) -> list[Stream]:
        return list(self._queues)

    def forget(self, streams: set[Stream]) -> None:
        """Drops streams whose sender is gone, with what they had waiting."""
        for stream in streams & self._queues.keys():
            del self._queues[stream]


def _turn(queue: _Queue[Item]) -> float:
    return queue.turn
