"""A worker's side of the preview that plays real H.264, and a player of aiortc's, within one process and loop."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from prometheus_client import CollectorRegistry

from ingest.webrtc.config import WebRtcConfig
from publish.preview.audience import Audience
from publish.preview.config import PreviewConfig
from publish.preview.metrics import AudienceMetrics
from publish.preview.wire import Overlay, Said, Seen, Unpacker, Unwatch, Video, WantKey, Watch, packed

STREAM = "gate"
ANY: dict[str, Any] = WebRtcConfig().in_clear()
FPS = 25
SIZE = (64, 48)
# A picture's number, modulo this, is its brightness: 16, 24, …
LEVELS, LEVEL_STEP = 28, 8


async def until(what: str, condition: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """The condition's first true value."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if value := condition():
            return value
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


def picture(number: int, size: tuple[int, int] = SIZE) -> av.VideoFrame:
    width, height = size
    level = 16 + LEVEL_STEP * (number % LEVELS)
    pixels = np.full((height * 3 // 2, width), 128, np.uint8)
    pixels[:height] = level
    frame = av.VideoFrame.from_ndarray(pixels, "yuv420p")
    frame.pts, frame.time_base = number, Fraction(1, FPS)
    return frame


def number_of(frame: av.VideoFrame) -> int:
    """Of the picture that is shown, modulo `LEVELS`."""
    shown = frame.to_ndarray(format="yuv420p")[: frame.height].mean()
    return round((float(shown) - 16) / LEVEL_STEP)


def encoded(first: int = 0, key_every: int = 25) -> Iterator[tuple[int, bool, bytes]]:
    """Numbers, whether they are key frames, and H.264 pictures, for ever."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = *SIZE, "yuv420p"
    codec.time_base, codec.framerate, codec.gop_size = Fraction(1, FPS), Fraction(FPS), key_every
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "x264-params": "scenecut=0"}
    codec.profile = "Baseline"
    number = first
    while True:
        for packet in codec.encode(picture(number)):
            yield number, bool(packet.is_keyframe), bytes(packet)
        number += 1


class Worker:
    """Plays numbered pictures while they are watched; keeps what it was told."""

    def __init__(self, key_every: int = 25) -> None:
        self.heard: list[Said] = []
        self.watched: dict[Overlay, Watch] = {}
        self.session = 1
        self.sent = 0
        self.pictures = encoded(key_every=key_every)
        self._unpacker = Unpacker()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self, end: socket.socket) -> None:
        reader, self._writer = await asyncio.open_unix_connection(sock=end)
        self._tasks.append(asyncio.create_task(self._listen(reader)))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while piece := await reader.read(1 << 16):
            for said in self._unpacker.feed(piece):
                self.heard.append(said)
                match said:
                    case Watch():
                        self.watched[said.overlay] = said
                    case Unwatch():
                        self.watched.pop(said.overlay, None)

    def of(self, kind: type[Said]) -> list[Any]:
        return [said for said in self.heard if isinstance(said, kind)]

    def send(self, said: Said) -> None:
        assert self._writer is not None
        self._writer.write(packed(said))

    def show(self, overlay: Overlay = "client", backlog: bool = False, codec: str = "h264") -> int:
        """Sends the next picture and what was seen in it, before it where it has to be drawn; its number."""
        number, is_key, data = next(self.pictures)
        pts_ns = None if overlay == "client" else number * 40_000_000
        arrival = time.monotonic_ns()
        video = Video(STREAM, overlay, codec, self.session, number, 1 / FPS, pts_ns, arrival, is_key, backlog, data)
        seen = Seen(STREAM, self.session, number, json.dumps(result(number, self.session)).encode())
        for said in (video, seen) if overlay == "client" else (seen, video):
            self.send(said)
        self.sent = number
        return number

    def play(self, overlay: Overlay = "client") -> None:
        """Shows pictures at their pace until closed."""
        self._tasks.append(asyncio.create_task(self._play(overlay)))

    async def _play(self, overlay: Overlay) -> None:
        while True:
            if overlay in self.watched:
                if overlay == "burned" and self.of(WantKey):
                    self.heard = [said for said in self.heard if not isinstance(said, WantKey)]
                    self.pictures = encoded(self.sent + 1)
                self.show(overlay)
            await asyncio.sleep(1 / FPS)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()


def result(number: int, session: int = 1) -> dict[str, Any]:
    """A frame result with one person."""
    return {
        "stream": STREAM, "session": session, "seq": number, "pts": number / FPS,
        "frame": {"width": 64, "height": 48}, "model": {"name": "m"},
        "objects": [{"track_id": 7, "class_id": 0, "class_name": "person", "confidence": 0.87654,
                     "box": [1.04, 2.0, 30.0, 40.0]}],
    }  # fmt: skip


class Player:
    """aiortc's own, as anyone would write it."""

    def __init__(self, channel: bool = True, audio: bool = False, direction: str = "recvonly") -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.video = self.connection.addTransceiver("video", direction=direction)
        if audio:
            self.connection.addTransceiver("audio", direction=direction)
        self.channel: RTCDataChannel | None = None
        self.told: list[dict[str, Any]] = []
        if channel:
            self.channel = self.connection.createDataChannel("tracks", ordered=False, maxRetransmits=0)
            self.channel.on("message", lambda text: self.told.append(json.loads(text)))
        self.frames: list[tuple[int, int]] = []  # number, RTP time
        self.kinds: list[str] = []
        self.connection.on("track", self._track)
        self._tasks: list[asyncio.Task[None]] = []

    def _track(self, track: MediaStreamTrack) -> None:
        self.kinds.append(track.kind)
        if track.kind == "video":
            self._tasks.append(asyncio.create_task(self._watch(track)))

    async def _watch(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.VideoFrame)
                # aiortc counts from the first picture's time, which it keeps to itself.
                origin = vars(self.video.receiver)["_RTCRtpReceiver__timestamp_mapper"]._origin
                self.frames.append((number_of(frame), (origin + frame.pts) & 0xFFFFFFFF))
        except MediaStreamError:
            return

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: dict[str, Any]) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))

    async def close(self) -> None:
        await self.connection.close()
        for task in self._tasks:  # of a connection that never stood, no track ends
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Hall:
    """An audience, linked with a worker that has the stream."""

    def __init__(self, **config: Any) -> None:
        self.registry = CollectorRegistry()
        self.broken: list[str] = []
        self.audience = Audience(PreviewConfig(**config), AudienceMetrics(self.registry), self.broken.append)
        self.worker = Worker()
        self._sessions = 0

    async def link(self, worker: Worker | None = None) -> None:
        self.worker = worker or self.worker
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        await self.worker.connect(theirs)
        await self.audience.links.link("worker-0", [STREAM], ours)

    async def admit(self, player: Player, overlay: str = "auto", webrtc: dict[str, Any] | None = None) -> str:
        """The session of a player whose offer was taken."""
        self._sessions += 1
        session = f"s{self._sessions}"
        answer = await self.ask(
            "whep.offer", session=session, sdp=await player.offer(), overlay=overlay, webrtc=webrtc or ANY
        )
        player.overlay = answer["overlay"]
        await player.accept(answer)
        return session

    async def ask(self, question: str, **data: Any) -> dict[str, Any]:
        return await self.audience.answer(question, {"stream": STREAM, **data})

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@asynccontextmanager
async def hall(key_every: int = 25, **config: Any) -> AsyncIterator[Hall]:
    made = Hall(**config)
    await made.link(Worker(key_every))
    try:
        yield made
    finally:
        await made.audience.close()
        await made.worker.close()
