"""A stream in one way of showing it, as a worker sends it, and who follows it.

The pictures since the last key frame are kept: who comes in between gets them all at once, squeezed into the time
before the newest, and so sees that one at once and is no moment behind. Players drop what is older than what they have
shown; so who asks for a key frame of a camera, which cannot be asked for one, gets them squeezed into the time since
its last.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from publish.preview.timeline import CLOCK_HZ, Timeline
from publish.preview.unit import Unit
from publish.preview.wire import Overlay, Seen, Unable, Video

# A camera with rarer key frames shows newcomers nothing before the next one.
GROUP_BYTES, GROUP_PICTURES = 32 << 20, 1500
SQUEEZED_STEP = CLOCK_HZ // 1000
# What is kept goes out at some 50 Mbit/s: faster than any network's queues would lose it.
BURST_BYTES, BURST_S = 24 << 10, 0.004
# What a worker has kept comes without pauses; after one, all of it is here.
BACKLOG_PAUSE_S = 0.1
# So many pictures are sent again rather than asking the encoder for a key frame, which costs all viewers.
FEW = 8
WANT_KEY_EVERY_S = 0.5
START_AGAIN_EVERY_S = 1.0
# Pictures being drawn at a time, and those that were left out.
MOST_EARLY = 16
CODE_NOT_LIVE = "preview.not_live"


class Showing(Protocol):
    """What sends pictures to one viewer."""

    @property
    def ready(self) -> bool: ...

    def show(self, unit: Unit, rtp: int) -> None: ...


@dataclass(slots=True, eq=False)
class Follower:
    """One viewer's place in a view.

    Attributes:
        next: index in the group of the picture it gets next; None: it waits for a beginning.
        last: RTP time of what it was sent last.
        squeezed: how the kept pictures are placed: after the first number, up to the second, which is that of so many.
        keys_only: its network takes no more than key frames.
    """

    outlet: Showing
    next: int | None = None
    last: int | None = None
    squeezed: tuple[int, int, int] = (0, 0, 0)
    keys_only: bool = False
    began_at: float = field(default=-START_AGAIN_EVERY_S)


class View:
    """Lives in the preview process's loop."""

    def __init__(self, stream: str, overlay: Overlay, want_key: Callable[[], object]) -> None:
        self.stream, self.overlay = stream, overlay
        self.followers: set[Follower] = set()
        self.codec: str | None = None
        self.first_key: bytes | None = None  # of the present group: says what decodes it
        self.unable: Unable | None = None
        self.known = asyncio.Event()  # whether it can be shown, and how
        self._timeline = Timeline()
        self._early: OrderedDict[tuple[int, int], Seen] = OrderedDict()  # of pictures that are being drawn
        self._want_key = want_key
        self._wanted_key_at = -WANT_KEY_EVERY_S
        self._group: list[Unit] = []  # of the pictures since the last key frame, all that can be kept, or none
        self._group_bytes = self._count = 0  # of these pictures
        self._session: int | None = None
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None

    # -- from the worker

    def video(self, video: Video) -> None:
        self.unable = None
        rtp = self._timeline.place(video.session, video.pts, video.time_base_s, video.arrival_ns)
        unit = Unit(video, rtp)
        if video.session != self._session or (self.codec not in (None, video.codec)):
            self._session = video.session
            self._clear()
        if video.is_key:
            self._clear()
            self.codec, self.first_key = video.codec, video.data
            self.known.set()
        elif not self._count:
            return  # nothing that it could be decoded with
        self._count += 1
        self._keep(unit)
        if video.backlog:
            self._await_pause()
        else:
            self._complete()
            self._advance_all(unit)

    def _clear(self) -> None:
        """A new beginning: who is still getting the last one's pictures goes on here."""
        self._group, self._group_bytes, self._count = [], 0, 0
        for follower in self.followers:
            if follower.next is not None:
                follower.next, follower.squeezed = 0, (0, 0, 0)

    def _keep(self, unit: Unit) -> None:
        if len(self._group) == self._count - 1:
            self._group.append(unit)
            self._group_bytes += unit.size
        if self._group_bytes > GROUP_BYTES or self._count > GROUP_PICTURES:
            self._group, self._group_bytes = [], 0
            for follower in self.followers:
                if follower.next is not None and follower.next < self._count - 1:
                    follower.next = None  # what it was to get is gone

    def seen(self, seen: Seen) -> int | None:
        """The RTP time of the picture in which something was seen; None while there is no such picture.

        It takes longer to draw than to tell: what is told of a `burned` picture waits for it, see `told_before`.
        """
        at = self._timeline.of(seen.session, seen.pts)
        if at is None and self.overlay == "burned":
            self._early[seen.session, seen.pts] = seen
            if len(self._early) > MOST_EARLY:
                self._early.popitem(last=False)
        return at

    def told_before(self, video: Video) -> Seen | None:
        """What was told of this picture before it came."""
        return self._early.pop((video.session, video.pts), None)

    def cannot(self, unable: Unable) -> None:
        self.unable = unable
        self.known.set()

    def lost_worker(self) -> None:
        """What it said no longer holds; the pictures go on with another's key frame."""
        self.unable = None
        self._complete()
        self._clear()
        for follower in self.followers:
            follower.next = None

    # -- viewers

    def follow(self, follower: Follower) -> None:
        self.followers.add(follower)
        self._begin(follower)

    def leave(self, follower: Follower) -> None:
        self.followers.discard(follower)

    def begin_again(self, follower: Follower) -> None:
        """Its player cannot go on without a key frame."""
        if follower.next is None or self._loop.time() - follower.began_at < START_AGAIN_EVERY_S:
            return
        follower.next = None
        if self.overlay == "burned":
            self._begin(follower)  # else with the next picture: there must be time to squeeze into

    def limit(self, follower: Follower, keys_only: bool) -> None:
        """Whether it is sent no more than key frames from now on."""
        if follower.keys_only and not keys_only and follower.next:
            follower.next = None  # it has missed what the next pictures build on
        follower.keys_only = keys_only

    def _begin(self, follower: Follower) -> None:
        """Puts it at the kept group's beginning, if that leads somewhere, else asks for one."""
        group, waiting = self._group, self._pause is not None
        if follower.outlet.ready and group and not waiting and (self.overlay == "client" or len(group) <= FEW):
            end, count = group[-1].rtp, len(group)
            low = end - count * SQUEEZED_STEP
            if follower.last is not None:
                low = max(low, follower.last)
            if end - low >= count:
                follower.next, follower.squeezed = 0, (low, end, count)
                follower.began_at = self._loop.time()
                self._advance(follower)
                return
        if self.overlay == "burned" and self._loop.time() - self._wanted_key_at >= WANT_KEY_EVERY_S:
            self._wanted_key_at = self._loop.time()
            self._want_key()

    def _advance_all(self, unit: Unit) -> None:
        newest = self._count - 1
        for follower in self.followers:
            if follower.next is None and newest == 0 and follower.outlet.ready:
                follower.next, follower.squeezed = 0, (0, 0, 0)
                follower.began_at = self._loop.time()
            if follower.next is None:
                self._begin(follower)
            elif follower.next == newest:
                if newest == 0 or not follower.keys_only:
                    self._send(follower, unit, unit.rtp)
                follower.next += 1

    def _advance(self, follower: Follower) -> None:
        """Sends what comes next, up to a burst; the rest follows."""
        group, burst = self._group, 0
        while follower.next is not None and follower.next < len(group):
            if burst > BURST_BYTES:
                self._loop.call_later(BURST_S, self._go_on, follower, group)
                return
            unit = group[follower.next]
            if follower.next == 0 or not follower.keys_only:
                self._send(follower, unit, self._placed(follower, unit))
                burst += unit.size
            follower.next += 1

    def _go_on(self, follower: Follower, group: list[Unit]) -> None:
        if follower in self.followers and group is self._group:
            self._advance(follower)

    @staticmethod
    def _placed(follower: Follower, unit: Unit) -> int:
        low, end, count = follower.squeezed
        at = follower.next or 0
        return low + (at + 1) * (end - low) // count if at < count else unit.rtp

    @staticmethod
    def _send(follower: Follower, unit: Unit, rtp: int) -> None:
        follower.outlet.show(unit, rtp)
        follower.last = rtp

    def _await_pause(self) -> None:
        self._complete()
        self._pause = self._loop.call_later(BACKLOG_PAUSE_S, self._paused)

    def _complete(self) -> None:
        """All that the worker had kept is here."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _paused(self) -> None:
        self._pause = None
        for follower in self.followers:
            if follower.next is None:
                self._begin(follower)

    def close(self) -> None:
        self._complete()
