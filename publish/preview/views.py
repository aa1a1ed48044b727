"""What is watched of one stream, and what is sent of it. Lives in the worker's loop.

Nothing is done for a stream that nobody watches: whoever tells of frames asks `watched` first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ingest.frame import Frame
from ingest.live import LivePacket, LivePackets
from publish.preview.annotate import Rules
from publish.preview.burned import Burned, Made
from publish.preview.metrics import PreviewMetrics
from publish.preview.studio import Studio
from publish.preview.wire import Overlay, Said, Seen, Unable, Video, Watch
from publish.schema import FrameResult

# Of what was seen: what viewers are not shown, and is most of it where there is any.
LEFT_OUT: Mapping[str, Any] = {"objects": {"__all__": {"mask", "keypoints", "corners"}}}
NS_S = 1e-9


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where views of a worker's streams go, and what they share.

    Attributes:
        send: sends to the preview process; whether it will arrive.
        call: calls in the worker's loop, from any thread.
        observe: hears of the seconds that a picture took.
    """

    send: Callable[[Said], bool]
    call: Callable[..., object]
    studio: Studio
    metrics: PreviewMetrics
    observe: Callable[[float], None]


class Views:
    """Both ways of watching a stream.

    Attributes:
        stream: its name.
        live: the camera's packets, to be fed by whoever reads it; None where its privacy masks forbid to show them.
        watched: whether anyone watches.
        wants_pictures: whether anyone watches `burned`, and so wants frames even if nothing is to be said of them. May
            be read in any thread.
    """

    def __init__(self, stream: str, rules: Rules, masked: bool, around: Surroundings) -> None:
        """`masked`: there are parts of the picture that nobody may see."""
        self.live = None if masked else LivePackets()
        self.watched = self.wants_pictures = False
        self.stream = stream
        self._rules = rules
        self._around = around
        self._session: int | None = None
        self._frame_rate = math.inf
        self._client: _Client | None = None
        self._burned: Burned | None = None
        self._burned_in_step = False

    # -- what viewers want

    def watch(self, watch: Watch) -> None:
        if watch.overlay == "client":
            self._watch_client()
        elif self._burned is not None:
            self._burned.follow(watch)
        else:
            around = self._around
            self._burned_in_step = False
            self._burned = Burned(
                watch, self._rules, self._frame_rate, around.studio, around.call, self._made, self._observed,
                lambda: self._count("dropped_busy"),
            )  # fmt: skip
        if self._session is None and (self._client is not None or watch.overlay == "burned"):
            self._unable(watch.overlay, "preview.not_live", f"stream {self.stream!r} is not live")
        self._check_packets()
        self._note()

    def unwatch(self, overlay: Overlay) -> None:
        if overlay == "client" and self._client is not None:
            self._client.close()
            self._client = None
        elif overlay == "burned" and self._burned is not None:
            self._burned.close()
            self._burned = None
        self._note()

    def want_key(self) -> None:
        if self._burned is not None:
            self._burned.want_key()

    def close(self) -> None:
        """The stream is no more."""
        self.unwatch("client")
        self.unwatch("burned")

    # -- what the stream tells

    def began(self, session: int, frame_rate: float) -> None:
        """A session's first frame is there, and about so many a second will be told of."""
        self._session, self._frame_rate = session, frame_rate
        if self._burned is not None:
            self._burned.frame_rate = frame_rate
        self._check_packets()

    def ended(self) -> None:
        """The session is over."""
        self._session = None
        for overlay, view in (("client", self._client), ("burned", self._burned)):
            if view is not None:
                self._unable(overlay, "preview.not_live", f"stream {self.stream!r} is not live any more")

    def told(self, frame: Frame, result: FrameResult | None) -> None:
        """A frame and what was said of it, in order; None: nothing was seen in it."""
        if result is not None:
            body = result.model_dump_json(exclude=LEFT_OUT).encode()
            self._around.send(Seen(self.stream, frame.session, _pts(frame)[0], body))
        if self._burned is not None:
            self._burned.told(frame, result)

    # -- the camera's own packets

    def _watch_client(self) -> None:
        if self._client is not None:
            return
        if self.live is None:
            self._unable(
                "client", "preview.masked",
                f"stream {self.stream!r} has privacy masks, and the camera's own packets show what is behind them",
            )  # fmt: skip
            return
        self._client = _Client(self, self.live, self._around)

    def forward(self, packet: LivePacket, backlog: bool, in_step: bool) -> bool:
        """Sends one packet; whether those that build on it may follow."""
        if not in_step and not packet.is_key:
            self._count("dropped_link")
            return False
        sent = self._around.send(Video(
            self.stream, "client", packet.codec, packet.session, packet.pts, float(packet.time_base), None,
            packet.arrival_ns, packet.is_key, backlog, packet.data,
        ))  # fmt: skip
        self._count("forwarded" if sent else "dropped_link")
        return sent

    def _check_packets(self) -> None:
        if self._client is not None and self._session is not None and not self._client.connected:
            self.unplayable("it comes as pictures, and only video can be passed on as it is")

    def unplayable(self, why: str) -> None:
        """The camera's packets are of no use to browsers."""
        self._unable("client", "preview.codec", f"stream {self.stream!r}: {why}")
        self.unwatch("client")

    # -- pictures that were drawn on

    def _made(self, made: Made) -> None:
        if made.error is not None:
            self._unable("burned", made.error.code, str(made.error))
            self.unwatch("burned")
            return
        if made.encoded is None:
            self._count("failed")
            return
        assert self._burned is not None, "a view that is closed delivers nothing"
        pts, unit_s = _pts(made.frame)
        wanted = self._burned_in_step or made.encoded.is_key
        self._burned_in_step = wanted and self._around.send(Video(
            self.stream, "burned", made.codec, made.frame.session, pts, unit_s, made.frame.pts_ns,
            made.frame.arrival_ns, made.encoded.is_key, False, made.encoded.data,
        ))  # fmt: skip
        if not self._burned_in_step:
            self._burned.want_key()
        self._count("encoded" if self._burned_in_step else "dropped_link")

    def _observed(self, took_s: float, cpu_s: float) -> None:
        self._around.observe(took_s)
        self._around.metrics.cpu_seconds.labels(self.stream).inc(cpu_s)

    def _note(self) -> None:
        self.wants_pictures = self._burned is not None
        self.watched = self.wants_pictures or self._client is not None

    def _unable(self, overlay: Any, code: str, detail: str) -> None:
        self._around.send(Unable(self.stream, overlay, code, detail))

    def _count(self, outcome: str) -> None:
        self._around.metrics.frames.labels(self.stream, outcome).inc()


class _Client:
    """Hears of packets where they come, and has them sent in the loop."""

    def __init__(self, views: Views, live: LivePackets, around: Surroundings) -> None:
        self._views = views
        self._live = live
        self._call = around.call
        self._in_step = self._closed = False
        live.watch(self)

    def close(self) -> None:
        self._closed = True
        self._live.unwatch(self)

    @property
    def connected(self) -> bool:
        return self._live.connected

    # -- in the threads that packets come in

    def packet(self, packet: LivePacket, backlog: bool) -> None:
        self._call(self._forward, packet, backlog)

    def unplayable(self, why: str) -> None:
        self._call(self._give_up, why)

    # -- in the loop

    def _forward(self, packet: LivePacket, backlog: bool) -> None:
        if not self._closed:
            self._in_step = self._views.forward(packet, backlog, self._in_step)

    def _give_up(self, why: str) -> None:
        if not self._closed:
            self._views.unplayable(why)


def _pts(frame: Frame) -> tuple[int, float]:
    """A frame's own timestamp and its unit, seconds; its media time where the source gives none."""
    if frame.pts is None or frame.time_base_s is None:
        return frame.pts_ns, NS_S
    return frame.pts, frame.time_base_s
