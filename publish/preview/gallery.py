"""A worker's side of previews: what viewers want of its streams, and the way to the process that has the viewers."""

from __future__ import annotations

import socket
from collections.abc import Callable

import structlog

from publish.preview.annotate import Rules
from publish.preview.link import PreviewLink
from publish.preview.metrics import PreviewMetrics
from publish.preview.studio import Studio
from publish.preview.views import Surroundings, Views
from publish.preview.wire import Overlay, Said, Unable, Unwatch, WantKey, Watch

log = structlog.get_logger()


class Gallery:
    """Lives in the worker's loop. What is wanted of a stream is remembered while it is not here: it may begin again."""

    def __init__(self, metrics: PreviewMetrics, observe: Callable[[float], None], call: Callable[..., object]) -> None:
        """`observe` hears of the seconds that a picture took to draw and encode; `call` calls in the loop, from any
        thread."""
        self._around = Surroundings(self._send, call, Studio(), metrics, observe)
        self._views: dict[str, Views] = {}
        self._wanted: dict[tuple[str, Overlay], Watch] = {}
        self._link: PreviewLink | None = None

    async def connect(self, end: socket.socket) -> None:
        """Serves another preview process, and none before it any more."""
        self._lose()
        link = self._link = PreviewLink(self._hear, self._lost)
        try:
            await link.open(end)
        except OSError as error:  # it died meanwhile; there will be another
            end.close()
            log.info("the preview process is gone again", error=str(error))
        if link is not self._link:
            link.close()

    # -- the streams

    def views(self, stream: str, rules: Rules, masked: bool) -> Views:
        """Those of a stream that begins to be served here."""
        views = self._views[stream] = Views(stream, rules, masked, self._around)
        for (name, _), watch in list(self._wanted.items()):
            if name == stream:
                views.watch(watch)
        return views

    def forget(self, views: Views) -> None:
        """The stream is no longer served here, or not by who had these."""
        views.close()
        if self._views.get(views.stream) is views:
            del self._views[views.stream]

    # -- the preview process

    def _hear(self, said: Said) -> None:
        match said:
            case Watch():
                self._wanted[said.stream, said.overlay] = said
                if (views := self._views.get(said.stream)) is not None:
                    views.watch(said)
                else:
                    detail = f"stream {said.stream!r} is not here"
                    self._send(Unable(said.stream, said.overlay, "preview.not_live", detail))
            case Unwatch():
                self._wanted.pop((said.stream, said.overlay), None)
                if (views := self._views.get(said.stream)) is not None:
                    views.unwatch(said.overlay)
            case WantKey():
                if (views := self._views.get(said.stream)) is not None:
                    views.want_key()

    def _send(self, said: Said) -> bool:
        if isinstance(said, Unable) and said.code != "preview.not_live":
            self._wanted.pop((said.stream, said.overlay), None)  # it lasts, until somebody asks again
        return self._link is not None and self._link.send(said)

    def _lost(self, link: PreviewLink) -> None:
        if link is self._link:
            self._lose()

    def _lose(self) -> None:
        """Nobody watches anything: whoever comes next asks anew."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._wanted.clear()
        for views in self._views.values():
            views.close()
