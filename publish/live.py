"""What happens, as it happens, for many who listen: each has a bounded queue, and who is too slow is let go of."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

from ingest.errors import VigilError

MOST_LISTENERS = 64
# Of what must not be missed, for each who listens.
MOST_WAITING = 256


class FullError(VigilError):
    """As many listen as may."""

    code = "live.full"


class Told(NamedTuple):
    """One thing that happened: what kind of thing, and JSON."""

    kind: str
    body: bytes


class Listener:
    """One who listens. Lives in one asyncio loop."""

    def __init__(self) -> None:
        self._waiting: deque[Told] = deque()
        self._passing: dict[str, Told] = {}
        self._news = asyncio.Event()
        self._over = False

    def tell(self, told: Told) -> None:
        """Must not be missed: whose queue is full is cut, and has to begin anew with what is then."""
        if len(self._waiting) >= MOST_WAITING:
            self._over = True
            self._waiting.clear()
            self._passing.clear()
        else:
            self._waiting.append(told)
        self._news.set()

    def tell_latest(self, told: Told) -> None:
        """Only the latest of its kind matters, and only when nothing else waits."""
        self._passing[told.kind] = told
        self._news.set()

    def close(self) -> None:
        self._over = True
        self._news.set()

    async def messages(self, beat_s: float) -> AsyncIterator[Told | None]:
        """What is told; None when nothing was for so long. Ends when the listener is cut."""
        while not self._over:
            if self._waiting:
                yield self._waiting.popleft()
            elif self._passing:
                yield self._passing.pop(next(iter(self._passing)))
            else:
                self._news.clear()
                try:
                    async with asyncio.timeout(beat_s):
                        await self._news.wait()
                except TimeoutError:
                    yield None


class Audience:
    """All who listen."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self) -> Listener:
        """Raises FullError."""
        if len(self._listeners) >= MOST_LISTENERS:
            raise FullError(f"{MOST_LISTENERS} listen already, as many as may")
        listener = Listener()
        self._listeners.add(listener)
        self._changed.set()
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        self._changed.set()

    async def listened_to(self) -> None:
        """Returns once somebody listens."""
        while not self._listeners:
            self._changed.clear()
            await self._changed.wait()

    async def deserted(self) -> None:
        """Returns once nobody listens any more."""
        while self._listeners:
            self._changed.clear()
            await self._changed.wait()

    def tell(self, told: Told) -> None:
        for listener in self._listeners:
            listener.tell(told)

    def tell_latest(self, told: Told) -> None:
        """Who has not taken the one before of that kind never will."""
        for listener in self._listeners:
            listener.tell_latest(told)

    def close(self) -> None:
        """Nothing more happens."""
        for listener in self._listeners:
            listener.close()
