"""Decides which waiting frames the device takes next. No clock, no thread, no I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Stream = tuple[str, int]
"""A worker's id and the stream's number within it."""


class Scheduler(Generic[Item]):
    """Waiting frames by stream, served in turn.

    A live stream has one waiting frame at most: a newer one takes its place. A stream that must lose nothing queues
    behind itself; its sender's ring slots bound that queue. Streams are served round robin, least recently served
    first, and a batch holds pictures of one size.
    """

    def __init__(self) -> None:
        self._streams: OrderedDict[Stream, deque[tuple[Hashable, Item]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._streams.values())

    def offer(self, stream: Stream, size: Hashable, item: Item, keep_all: bool = False) -> Item | None:
        """Adds a frame and returns the older one that it replaces, if any."""
        waiting = self._streams.setdefault(stream, deque())
        replaced = waiting.pop()[1] if waiting and not keep_all else None
        waiting.append((size, item))
        return replaced

    def take(self, limit: int, ready: set[Hashable]) -> list[Item]:
        """At most `limit` frames of one size among the `ready` ones, at most one of each stream."""
        batch: list[Item] = []
        size: Hashable = None
        served: list[Stream] = []
        for stream, waiting in self._streams.items():
            if len(batch) == limit:
                break
            if not waiting or waiting[0][0] not in ready or (batch and waiting[0][0] != size):
                continue
            size, item = waiting.popleft()
            batch.append(item)
            served.append(stream)
        for stream in served:
            self._streams.move_to_end(stream)
        return batch

    def streams(self) -> list[Stream]:
        return list(self._streams)

    def forget(self, streams: set[Stream]) -> None:
        """Drops streams whose sender is gone, with what they had waiting."""
        for stream in streams & self._streams.keys():
            del self._streams[stream]
