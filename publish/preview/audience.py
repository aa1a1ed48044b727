"""All viewers and what they watch: takes offers, asks workers for the views that are watched, and ends what is over."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import structlog

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from publish.metrics import forget_stream
from publish.preview.config import PreviewConfig
from publish.preview.fanout import CODE_NOT_LIVE, View
from publish.preview.metrics import AudienceMetrics
from publish.preview.offer import NAMES, Offer, usable_offer
from publish.preview.rate import WORTH_TELLING, Capacity, shared
from publish.preview.tracks import tracks_message
from publish.preview.viewer import CodecError, Viewer
from publish.preview.wire import Overlay, Said, Seen, Unable, Unwatch, Video, WantKey, Watch
from publish.preview.workers import Links

log = structlog.get_logger()

OVERLAYS: tuple[Overlay, ...] = ("client", "burned")
# A worker says at once whether it can show a stream; a camera's next key frame may take longer.
KNOWN_WITHIN_S = 1.0


class TooManyViewersError(VigilError):
    """There are as many viewers as there may be."""

    code = "preview.too_many_viewers"


class UnknownSessionError(VigilError):
    """There is no such session, or no longer."""

    code = "whep.unknown_session"


class ViewError(VigilError):
    """The stream cannot be shown in this way, for the reason that its worker gave."""

    def __init__(self, unable: Unable) -> None:
        super().__init__(unable.detail)
        self.code = unable.code


class Audience:
    """Lives in the preview process's loop. `broke` hears of workers that must be connected anew."""

    def __init__(self, config: PreviewConfig, metrics: AudienceMetrics, broke: Callable[[str], None]) -> None:
        self.links = Links(self._said, self._appeared, self._vanished, broke)
        self._config = config
        self._metrics = metrics
        self._views: dict[tuple[str, Overlay], View] = {}
        self._viewers: dict[str, Viewer] = {}  # by session
        self._arriving: Counter[str] = Counter()  # offers that are being answered, by stream
        self._held: Counter[View] = Counter()  # the same, by view
        self._idle_since: dict[View, float] = {}
        self._bitrates: dict[View, float] = {}
        self._told: dict[View, int] = {}  # the bitrate that the worker was told
        self._looked_at = time.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()

    def configure(self, config: PreviewConfig) -> None:
        """From now on; who watches already stays, whatever the limits are now."""
        self._config = config
        for view in self._views.values():
            self._watch(view)

    # -- what the supervisor asks

    async def answer(self, question: str, asked: dict[str, Any]) -> dict[str, Any]:
        """
        Raises:
            VigilError: by the code in `publish/whep.py`.
        """
        match question:
            case "whep.offer":
                return await self._offer(**asked)
            case "whep.trickle":
                await self._find(asked["stream"], asked["session"]).trickle(asked["sdp"])
            case "whep.end":
                viewer = self._find(asked["stream"], asked["session"])
                await self._end(asked["session"], viewer, "the player ended its session")
            case _:
                raise AssertionError(question)
        return {}

    def _find(self, stream: str, session: str) -> Viewer:
        viewer = self._viewers.get(session)
        if viewer is None or viewer.view.stream != stream:
            raise UnknownSessionError(f"stream {stream!r} has no such session; it is over, or never was")
        return viewer

    async def _offer(self, stream: str, session: str, sdp: str, overlay: str, webrtc: dict[str, Any]) -> dict[str, Any]:
        offer = usable_offer(sdp)
        config = WebRtcConfig.model_validate(webrtc)
        self._admit(stream)
        with self._arrives(stream):
            view = await self._chosen(stream, overlay, offer)
            with self._holding(view):
                capacity = Capacity(self._config.bitrate_max, self._config.bitrate_max)
                viewer = Viewer(view, capacity, config, lambda why: self._over(session, why))
                answer = await viewer.answer(offer)
                self._viewers[session] = viewer
                if viewer.over:  # before anybody knew it
                    self._over(session, "its connection failed")
        self._metrics.sessions.labels(stream, view.overlay).inc()
        self._count(view)
        log.info("viewer comes", stream=stream, overlay=view.overlay, codec=viewer.codec, viewers=len(self._viewers))
        return {"sdp": answer, "overlay": view.overlay}

    def _admit(self, stream: str) -> None:
        there = Counter(viewer.view.stream for viewer in self._viewers.values()) + self._arriving
        if there[stream] >= self._config.viewers_per_stream:
            raise TooManyViewersError(
                f"stream {stream!r} has {there[stream]} viewers, as many as preview.viewers_per_stream allows"
            )
        if there.total() >= self._config.viewers:
            raise TooManyViewersError(f"there are {there.total()} viewers, as many as preview.viewers allows")

    @contextmanager
    def _arrives(self, stream: str) -> Iterator[None]:
        self._arriving[stream] += 1
        try:
            yield
        finally:
            self._arriving[stream] -= 1

    # -- views

    async def _chosen(self, stream: str, overlay: str, offer: Offer) -> View:
        """The view that serves the offer.

        `auto` is `client` for who can be told what was seen and can play what the camera sends, else `burned`.

        Raises:
            ViewError, CodecError: there is none.
        """
        by_client = overlay == "client" or (overlay == "auto" and offer.has_channel)
        view = await self._known(stream, "client" if by_client else "burned")
        refusal = _refusal(view, offer)
        if refusal is not None and overlay == "auto" and by_client:
            view = await self._known(stream, "burned")
            refusal = _refusal(view, offer)
        if refusal is not None:
            raise refusal
        return view

    async def _known(self, stream: str, overlay: Overlay) -> View:
        """The view, once it is known what it consists of, or that this may take a while."""
        view = self._views.get((stream, overlay))
        if view is None:
            view = View(stream, overlay, partial(self.links.send, stream, WantKey(stream)))
            self._views[stream, overlay] = view
            self._watch(view)
        with self._holding(view), suppress(TimeoutError):
            async with asyncio.timeout(KNOWN_WITHIN_S):
                await view.known.wait()
        return view

    @contextmanager
    def _holding(self, view: View) -> Iterator[None]:
        """As long as an offer wants it, it stays, viewers or not."""
        self._held[view] += 1
        self._idle_since.pop(view, None)
        try:
            yield
        finally:
            self._held[view] -= 1
            if not self._held[view]:
                del self._held[view]

    def _watch(self, view: View) -> None:
        config = self._config
        bitrate = round(self._bitrates.get(view, config.bitrate_max))
        self._told[view] = bitrate
        if view.overlay == "burned":
            self._metrics.bitrate.labels(view.stream).set(bitrate)
        self.links.send(view.stream, Watch(view.stream, view.overlay, config.max_side, config.fps, bitrate))

    def _unwatch(self, view: View) -> None:
        self.links.send(view.stream, Unwatch(view.stream, view.overlay))
        view.close()
        del self._views[view.stream, view.overlay]
        for kept in (self._idle_since, self._bitrates, self._told):
            kept.pop(view, None)
        self._metrics.viewers.remove_by_labels({"stream": view.stream, "overlay": view.overlay})
        if view.overlay == "burned":
            self._metrics.bitrate.remove_by_labels({"stream": view.stream})

    def _appeared(self, streams: Collection[str]) -> None:
        for view in self._views.values():
            if view.stream in streams:
                self._watch(view)

    def _vanished(self, streams: Collection[str]) -> None:
        for view in self._views.values():
            if view.stream in streams:
                view.lost_worker()

    # -- what workers say

    def _said(self, said: Said) -> None:
        match said:
            case Video():
                view = self._views.get((said.stream, said.overlay))
                if view is not None:
                    view.video(said)
                    if said.is_key:
                        self._check_codec(view)
                    if (seen := view.told_before(said)) is not None:
                        self._tell(view, seen)
            case Seen():
                for overlay in OVERLAYS:
                    if (view := self._views.get((said.stream, overlay))) is not None:
                        self._tell(view, said)
            case Unable():
                view = self._views.get((said.stream, said.overlay))
                if view is not None:
                    view.cannot(said)
                    if said.code != CODE_NOT_LIVE:
                        self._end_all(view, said.detail)

    def _tell(self, view: View, seen: Seen) -> None:
        rtp = view.seen(seen)
        listening = [viewer for viewer in self._viewers.values() if viewer.view is view and viewer.listens]
        if rtp is not None and listening:
            message = tracks_message(seen.result, rtp)
            for viewer in listening:
                viewer.tell(message)

    def _check_codec(self, view: View) -> None:
        """Players were promised one; with another they begin anew."""
        for session, viewer in list(self._viewers.items()):
            if viewer.view is view and viewer.codec != view.codec:
                self._over(session, f"the view is {view.codec} now")

    # -- ends

    def _over(self, session: str, because: str) -> None:
        viewer = self._viewers.get(session)
        if viewer is not None:
            self._task(self._end(session, viewer, because))

    def _end_all(self, view: View, because: str) -> None:
        for session, viewer in list(self._viewers.items()):
            if viewer.view is view:
                self._over(session, because)

    async def _end(self, session: str, viewer: Viewer, because: str) -> None:
        if self._viewers.pop(session, None) is None:
            return
        self._account(viewer)
        self._count(viewer.view)
        log.info("viewer goes", stream=viewer.view.stream, overlay=viewer.view.overlay, reason=because)
        await viewer.close()

    def forget(self, stream: str) -> None:
        """The stream is no more."""
        for key in [key for key in self._views if key[0] == stream]:
            self._end_all(self._views[key], "the stream was removed")
            self._unwatch(self._views[key])
        forget_stream(self._metrics.registry, stream)

    async def close(self) -> None:
        """Ends all sessions."""
        await asyncio.gather(
            *(self._end(session, viewer, "the service stops") for session, viewer in list(self._viewers.items()))
        )
        self.links.close()

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- every second

    async def look(self) -> None:
        now = time.monotonic()
        elapsed_s, self._looked_at = max(now - self._looked_at, 0.01), now
        for viewer in list(self._viewers.values()):
            viewer.look(now)
            if viewer.outlet is not None:
                viewer.capacity.learn(await viewer.outlet.report(), elapsed_s)
                self._account(viewer)
        for view in list(self._views.values()):
            self._adapt(view, now)
            self._linger(view, now)

    def _adapt(self, view: View, now: float) -> None:
        mine = [viewer for viewer in self._viewers.values() if viewer.view is view and viewer.follower is not None]
        least = self._share(view, mine) if view.overlay == "burned" else None
        for viewer in mine:
            follower, capacity = viewer.follower, viewer.capacity
            assert follower is not None, "as chosen above"
            if least is None:
                keys_only = viewer.trial.look(capacity.loses, now)
            else:
                keys_only = capacity.bits < least and (capacity.loses or follower.keys_only)
            if keys_only != follower.keys_only:
                what = "key frames only" if keys_only else "all pictures again"
                log.info(f"viewer is sent {what}", stream=view.stream, overlay=view.overlay)
            view.limit(follower, keys_only)

    def _share(self, view: View, viewers: Collection[Viewer]) -> float:
        """Has the worker encode as is best for all, and returns what a viewer must take, in bits a second."""
        agreed = shared((viewer.capacity for viewer in viewers), self._config.bitrate_min, self._config.bitrate_max)
        self._bitrates[view] = agreed.bits
        if abs(agreed.bits - self._told[view]) > WORTH_TELLING * self._told[view]:
            self._watch(view)
        return agreed.least

    def _linger(self, view: View, now: float) -> None:
        if self._held[view] or any(viewer.view is view for viewer in self._viewers.values()):
            self._idle_since.pop(view, None)
        elif now - self._idle_since.setdefault(view, now) >= self._config.linger:
            self._unwatch(view)

    def _account(self, viewer: Viewer) -> None:
        if viewer.outlet is not None:
            stream, new = viewer.view.stream, viewer.outlet.take_counts()
            self._metrics.bytes.labels(stream).inc(new.sent_bytes)
            self._metrics.packets_lost.labels(stream).inc(new.lost)
            self._metrics.packets_resent.labels(stream).inc(new.resent)

    def _count(self, view: View) -> None:
        if (view.stream, view.overlay) in self._views:
            viewers = sum(viewer.view is view for viewer in self._viewers.values())
            self._metrics.viewers.labels(view.stream, view.overlay).set(viewers)


def _refusal(view: View, offer: Offer) -> VigilError | None:
    """Why the offer cannot be served with this view; None when it can, or will be."""
    if view.unable is not None and view.unable.code != CODE_NOT_LIVE:
        return ViewError(view.unable)
    codec = view.codec or "h264"
    if NAMES[codec] not in offer.codecs:
        return CodecError(f"the stream is shown in {NAMES[codec]}, which the player's offer has not")
    return None
