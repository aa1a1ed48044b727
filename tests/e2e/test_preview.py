"""The preview, from a real RTSP camera to players of aiortc's: in step, in the right place, and on after a restart."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from tests.e2e.conftest import rtsp_servers, services, subscriptions
from tests.e2e.real import PATIENCE_S, Inbox, Running, wait_for

PORTS = range(53200, 53300)
SDP = {"Content-Type": "application/sdp"}
SIZE = (320, 240)
FPS, FRAMES = 10, 60
# Of the picture's width: how far a box may be from where the message says.
NEAR = 0.02
# Grey levels by which a box's line differs from what it covers, and a picture from itself after encoding.
DRAWN, SAME = 40, 8

Watched = tuple[Running, Inbox]
Picture = NDArray[np.int16]


@pytest.fixture(scope="module")
def watched(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with (
        rtsp_servers(street) as rtsp_server,
        services(tmp_path_factory.mktemp("preview")) as start,
        subscriptions() as subscribe,
    ):
        service = start({
            "webrtc": {"udp_ports": f"{PORTS[0]}-{PORTS[-1]}"},
            "preview": {"linger": 1},
            "streams": {"gate": {"url": rtsp_server().url()}},
        })  # fmt: skip
        inbox = subscribe(service)
        wait_for("the camera's people", lambda: any(frame["objects"] for frame in inbox.of("gate")))
        assert not service.children()["preview"], "nobody watches yet"
        yield service, inbox
        assert service.stop() == 0
        assert not service.leftovers()


@pytest.fixture(scope="module")
def film(street: Path) -> list[Picture]:
    """The luma of each of the camera's pictures."""
    with av.open(str(street)) as container:
        return [luma(frame) for frame in container.decode(video=0)]


def luma(frame: av.VideoFrame) -> Picture:
    return frame.reformat(*SIZE, format="gray").to_ndarray().astype(np.int16)


class Player:
    """A WHEP player of aiortc's, and what it shows and is told, by RTP time."""

    def __init__(self, service: Running, overlay: str) -> None:
        self._url = service.addresses["http"]
        self._overlay = overlay
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.video = self.connection.addTransceiver("video", direction="recvonly")
        self.connection.on("track", self._track)
        channel = self.connection.createDataChannel("tracks", ordered=False, maxRetransmits=0)
        channel.on("message", self._told)
        self.told: dict[int, dict[str, Any]] = {}
        self.sessions: list[int] = []
        self.shown: dict[int, Picture] = {}
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Player:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(
                f"{self._url}/whep/gate?overlay={self._overlay}", content=self.connection.localDescription.sdp,
                headers=SDP,
            )  # fmt: skip
        assert answer.status_code == 201, answer.text
        assert answer.headers["vigil-overlay"] == self._overlay
        self.session = answer.headers["location"]
        self.ports = {int(line.split()[5]) for line in answer.text.splitlines() if line.startswith("a=candidate:")}
        await self.connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        return self

    async def __aexit__(self, *_: object) -> None:
        async with httpx.AsyncClient() as client:
            assert (await client.delete(self._url + self.session)).status_code == 200
        await self.connection.close()
        if self._watching is not None:
            await self._watching

    def _told(self, text: str) -> None:
        told = json.loads(text)
        self.told[told["rtp"]] = told
        self.sessions.append(told["session"])

    def _track(self, track: MediaStreamTrack) -> None:
        self._watching = asyncio.create_task(self._watch(track))

    async def _watch(self, track: MediaStreamTrack) -> None:
        try:
            while True:
                frame = await track.recv()
                assert isinstance(frame, av.VideoFrame)
                # aiortc counts from the first picture's time, which it keeps to itself.
                origin = vars(self.video.receiver)["_RTCRtpReceiver__timestamp_mapper"]._origin
                self.shown[(origin + frame.pts) & 0xFFFFFFFF] = luma(frame)
        except MediaStreamError:
            return

    def both(self) -> list[tuple[Picture, dict[str, Any]]]:
        """Pictures that were shown, and what was told of them."""
        return [(picture, self.told[rtp]) for rtp, picture in self.shown.items() if rtp in self.told]


async def until(what: str, condition: Any, timeout_s: float = PATIENCE_S) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.02)


def distance(one: Picture, other: Picture) -> float:
    return float(np.abs(one - other).mean())


def test_the_cameras_own_pictures_come_with_what_was_seen_in_each(watched: Watched, film: list[Picture]) -> None:
    service, inbox = watched

    async def play() -> Player:
        async with Player(service, "client") as player:
            await until("pictures and what is in them", lambda: len(player.both()) > 20)
            assert player.ports <= set(PORTS)
        return player

    player = asyncio.run(play())
    told = {(message["session"], message["seq"]) for _, message in player.both()}
    wait_for("the same on NATS", lambda: told <= {(frame["session"], frame["seq"]) for frame in inbox.of("gate")})
    published = {(frame["session"], frame["seq"]): frame for frame in inbox.of("gate")}
    for _, told in player.both():
        frame = published[told["session"], told["seq"]]
        assert told["frame"] == {"width": SIZE[0], "height": SIZE[1]}
        assert len(told["objects"]) == len(frame["objects"])
        for ours, theirs in zip(told["objects"], frame["objects"], strict=True):
            assert (ours["track_id"], ours["class_name"]) == (theirs["track_id"], theirs["class_name"])
            assert np.allclose(ours["box"], theirs["box"], atol=0.1)
    # Which picture of the film each is must follow from its time, by one and the same shift for all.
    numbers = [round(told["pts"] * FPS) for _, told in player.both()]
    far = np.array([[distance(picture, one) for one in film] for picture, _ in player.both()])
    best = far.min(axis=1)
    shifts = [
        sum(far[row, (number + shift) % FRAMES] <= best[row] + 1 for row, number in enumerate(numbers))
        for shift in range(FRAMES)
    ]
    assert max(shifts) >= 0.9 * len(numbers), "the loop's seam may cost one or two"


def test_boxes_are_burned_in_where_the_messages_say(watched: Watched, film: list[Picture]) -> None:
    service, _ = watched

    async def play() -> Player:
        async with Player(service, "burned") as player:
            await until("pictures with objects", lambda: sum(bool(told["objects"]) for _, told in player.both()) > 5)
        return player

    player = asyncio.run(play())
    near = round(NEAR * SIZE[0])
    drawn = wanted = 0
    for picture, told in player.both():
        clean = min(film, key=lambda one: distance(picture, one))
        strange = np.abs(picture - clean)
        for seen in told["objects"]:
            left, top, right, bottom = (round(side) for side in seen["box"])
            rows = slice(top + (bottom - top) // 4, bottom - (bottom - top) // 4)
            for edge in (left, right):
                if near < edge < SIZE[0] - near:
                    wanted += 1
                    drawn += strange[rows, edge - near : edge + near + 1].mean(axis=0).max() > DRAWN
    assert wanted > 5
    assert drawn >= 0.9 * wanted, f"{drawn} of {wanted} edges"


def test_a_killed_worker_is_replaced_under_the_viewers_eyes(watched: Watched) -> None:
    service, _ = watched

    async def play() -> None:
        async with Player(service, "client") as player:
            await until("messages", lambda: player.told and player.shown)
            before = max(player.sessions)
            (worker,) = service.children()["worker"]
            worker.kill()
            await until("a new session's messages", lambda: player.sessions[-1] > before)
            pictures = len(player.shown)
            await until("more pictures", lambda: len(player.shown) > pictures + 3)

    asyncio.run(play())


def test_a_killed_preview_takes_nothing_with_it_and_serves_the_next_viewer(watched: Watched) -> None:
    service, inbox = watched
    (preview,) = service.children()["preview"]
    workers = service.children()["worker"]
    sessions = {frame["session"] for frame in inbox.of("gate")[-1:]}
    preview.kill()

    async def play() -> None:
        async with Player(service, "client") as player:
            await until("pictures", lambda: player.shown)

    asyncio.run(play())
    assert service.children()["worker"] == workers
    assert {frame["session"] for frame in inbox.of("gate")[-1:]} == sessions


def test_viewers_that_come_and_go_leave_nothing_behind(watched: Watched) -> None:
    service, _ = watched
    (preview,) = service.children()["preview"]

    def held() -> tuple[int, int]:
        ports = [one for one in preview.net_connections("udp") if one.laddr.port in PORTS]
        return preview.num_fds(), len(ports)

    async def once() -> None:
        async with Player(service, "client") as player:
            await until("a picture", lambda: player.shown)

    async def vanish() -> None:
        """Its process is gone; nobody says goodbye, and the socket that it had answers nothing."""
        player = Player(service, "client")
        await player.__aenter__()
        await until("a picture", lambda: player.shown)
        await player.connection.close()

    asyncio.run(once())
    before = held()
    for _ in range(3):
        asyncio.run(once())
    asyncio.run(vanish())
    wait_for("all is as before", lambda: held() <= before)
    metrics = service.get("/metrics")
    assert 'vigil_preview_bytes_total{stream="gate"}' in metrics
