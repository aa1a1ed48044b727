"""Real connections within one process: who may publish, how long silence is borne, which ports are used."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
import psutil
import pytest
from aioice import stun
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamTrack
from aiortc.rtcrtpsender import RTCRtpSender
from pydantic import ValidationError

from ingest.activity import Activity
from ingest.config import SourceConfig
from ingest.errors import SourceError
from ingest.sources.whip import Handover, Picture
from ingest.webrtc.config import WebRtcConfig
from ingest.webrtc.desk import BusyError, Desk, UnknownSessionError
from ingest.webrtc.encoded import DecoderWatch, starts_afresh
from ingest.webrtc.offer import MalformedSdpError, UnacceptableOfferError
from ingest.webrtc.peer import NoPortError
from ingest.webrtc.publisher import NoIceRestartError

ANY: dict[str, Any] = WebRtcConfig().in_clear()


class Noise(VideoStreamTrack):
    """64x48 pictures at 30 a second; silent while `muted`."""

    def __init__(self) -> None:
        super().__init__()
        self.muted = asyncio.Event()
        self._level = 0

    async def recv(self) -> av.VideoFrame:
        if self.muted.is_set():
            await asyncio.Event().wait()
        pts, time_base = await self.next_timestamp()
        self._level = (self._level + 3) % 256
        image = av.VideoFrame.from_ndarray(np.full((72, 64), self._level, np.uint8), "yuv420p")
        image.pts, image.time_base = pts, Fraction(time_base)
        return image


class Client:
    """A publisher: aiortc's own, as anyone would write it."""

    def __init__(self, codec: str | None = None, track: MediaStreamTrack | None = None) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.track = track or Noise()
        transceiver = self.connection.addTransceiver(self.track, direction="sendonly")
        if codec:
            known = RTCRtpSender.getCapabilities("video").codecs
            transceiver.setCodecPreferences([one for one in known if one.mimeType == codec])
        self.connection.addTransceiver("audio", direction="sendonly")

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return str(self.connection.localDescription.sdp)

    async def accept(self, answer: dict[str, Any]) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))


class Stage:
    def __init__(self, read_timeout: float = 5.0) -> None:
        self.handover = Handover(lambda: None)
        config = SourceConfig(url="whip://", connect_timeout=read_timeout, read_timeout=read_timeout)
        self.activity = Activity.create(1)
        self.desk = Desk("stage", config, self.handover, DecoderWatch(self.activity, 0))
        self.publication: int | None = None

    async def publish(self, client: Client, session: str = "one", webrtc: dict[str, Any] = ANY) -> dict[str, Any]:
        answer = await self.desk.offer(session, await client.offer(), webrtc)
        await client.accept(answer)
        return answer

    async def picture(self) -> Picture:
        picture = await asyncio.to_thread(self.handover.take, self.publication)
        assert picture is not None
        self.publication = picture.publication
        return picture

    async def lost(self) -> str:
        """Reads until the publisher is lost; the reason."""
        try:
            while True:
                await self.picture()
        except SourceError as error:
            self.publication = None
            return error.detail

    async def close(self) -> None:
        self.handover.close()
        await self.desk.close()
        self.activity.close()


def on_stage(scene: Callable[[Stage], Awaitable[None]], read_timeout: float = 5.0) -> None:
    async def play() -> None:
        stage = Stage(read_timeout)
        try:
            async with asyncio.timeout(60):
                await scene(stage)
        finally:
            await stage.close()

    asyncio.run(play())


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
def test_pictures_arrive_with_their_times_and_the_session_ends_when_it_is_told_to(codec: str) -> None:
    async def scene(stage: Stage) -> None:
        client = Client(codec)
        answer = await stage.publish(client)
        pictures = [await stage.picture() for _ in range(10)]
        assert {picture.codec for picture in pictures} == {codec.removeprefix("video/").lower()}
        assert (pictures[0].image.width, pictures[0].image.height) == (64, 48)
        times = [picture.image.pts for picture in pictures]
        assert times == sorted(set(times))
        assert pictures[0].image.time_base == Fraction(1, 90000)
        audio = answer["sdp"][answer["sdp"].index("m=audio") :]
        assert "a=inactive" in audio
        await stage.desk.end("one")
        assert await stage.lost() == "the publisher ended its session"
        with pytest.raises(UnknownSessionError):
            await stage.desk.end("one")
        await client.connection.close()

    on_stage(scene)


def test_a_publisher_that_closes_its_connection_is_lost_at_once() -> None:
    async def scene(stage: Stage) -> None:
        client = Client()
        await stage.publish(client)
        await stage.picture()
        await client.connection.close()
        async with asyncio.timeout(15):
            assert await stage.lost() == "the publisher closed its connection"

    on_stage(scene, read_timeout=30)


def test_silence_is_borne_for_the_read_timeout() -> None:
    async def scene(stage: Stage) -> None:
        client = Client()
        await stage.publish(client)
        await stage.picture()
        assert isinstance(client.track, Noise)
        client.track.muted.set()
        async with asyncio.timeout(15):
            assert await stage.lost() == "no picture from the publisher for 1 s"
        await client.connection.close()

    on_stage(scene, read_timeout=1)


def test_a_key_frame_that_was_missed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    missed: list[bytes] = []

    def after_one(codec: str, data: bytes) -> bool:
        if starts_afresh(codec, data) and not missed:
            missed.append(data)
            return False
        return starts_afresh(codec, data)

    monkeypatch.setattr("ingest.webrtc.encoded.starts_afresh", after_one)
    asked: list[RTCRtpSender] = []
    send_key_frame = RTCRtpSender._send_keyframe
    monkeypatch.setattr(RTCRtpSender, "_send_keyframe", lambda self: (asked.append(self), send_key_frame(self)))

    async def scene(stage: Stage) -> None:
        client = Client("video/VP8")
        await stage.publish(client)
        async with asyncio.timeout(10):
            await stage.picture()
        assert missed
        assert asked, "it came of itself"
        await client.connection.close()

    on_stage(scene, read_timeout=20)


def test_a_stream_has_one_publisher_and_a_ghost_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        first, second = Client(), Client()
        await stage.publish(first)
        await stage.picture()
        with pytest.raises(BusyError):
            await stage.desk.offer("two", await second.offer(), ANY)
        monkeypatch.setattr("ingest.webrtc.desk.YIELDS_AFTER_S", 0.3)
        assert isinstance(first.track, Noise)
        first.track.muted.set()
        losing = asyncio.create_task(stage.lost())
        async with asyncio.timeout(10):
            while True:
                try:
                    await second.accept(await stage.desk.offer("two", await second.offer(), ANY))
                    break
                except BusyError:
                    await asyncio.sleep(0.05)
        assert await losing == "another publisher took over"
        await stage.picture()
        for client in (first, second):
            await client.connection.close()

    on_stage(scene)


def test_candidates_may_trickle_in_but_ice_does_not_restart() -> None:
    async def scene(stage: Stage) -> None:
        client = Client()
        offer = await client.offer()
        candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
        without = "\r\n".join(line for line in offer.splitlines() if line not in candidates) + "\r\n"
        answer = await stage.desk.offer("one", without, ANY)
        username = next(line for line in offer.splitlines() if line.startswith("a=ice-ufrag:"))
        with pytest.raises(NoIceRestartError):
            await stage.desk.trickle("one", "a=ice-ufrag:other\r\n")
        with pytest.raises(UnknownSessionError):
            await stage.desk.trickle("two", username)
        await stage.desk.trickle("one", "\r\n".join([username, "m=video 9 RTP/AVP 0", "a=mid:0", *candidates]))
        await client.accept(answer)
        await stage.picture()
        await client.connection.close()

    on_stage(scene)


def test_what_cannot_be_answered_leaves_the_stream_free() -> None:
    async def scene(stage: Stage) -> None:
        client = Client()
        good = await client.offer()
        with pytest.raises(MalformedSdpError):
            await stage.desk.offer("bad", "hello", ANY)
        foreign = good.replace("VP8/90000", "VP9/90000").replace("H264/90000", "AV1/90000")
        with pytest.raises(UnacceptableOfferError, match="codec"):
            await stage.desk.offer("bad", foreign, ANY)
        await client.accept(await stage.desk.offer("good", good, ANY))
        await stage.picture()
        await client.connection.close()

    on_stage(scene)


def test_an_offer_that_cannot_be_answered_does_not_push_out_a_ghost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.webrtc.desk.YIELDS_AFTER_S", -1.0)

    async def scene(stage: Stage) -> None:
        client = Client()
        await stage.publish(client)
        await stage.picture()
        with pytest.raises(MalformedSdpError):
            await stage.desk.offer("bad", "hello", ANY)
        await stage.picture()
        await stage.desk.end("one")
        await client.connection.close()

    on_stage(scene)


def test_ports_stay_within_their_range_and_advertised_addresses_are_told() -> None:
    async def scene(stage: Stage) -> None:
        taken = free_ports(2)
        webrtc = WebRtcConfig.model_validate(
            {"udp_ports": f"{taken}-{taken + 1}", "advertise": ["203.0.113.7", "127.0.0.1"]}
        )
        client = Client()
        answer = await stage.publish(client, webrtc=webrtc.in_clear())
        candidates = [line.split() for line in answer["sdp"].splitlines() if line.startswith("a=candidate:")]
        assert {int(words[5]) for words in candidates} <= {taken, taken + 1}
        assert {"203.0.113.7", "127.0.0.1"} <= {words[4] for words in candidates}
        await stage.picture()
        await client.connection.close()

    on_stage(scene)


def test_a_publisher_reaches_an_advertised_address_through_address_translation() -> None:
    async def scene(stage: Stage) -> None:
        port = free_ports(1)
        webrtc = WebRtcConfig.model_validate({"udp_ports": f"{port}-{port}", "advertise": [OUTSIDE]})
        client = Client()
        offer = await client.offer()
        unreachable = "\r\n".join(line for line in offer.splitlines() if "a=candidate:" not in line) + "\r\n"
        answer = await stage.desk.offer("one", unreachable, webrtc.in_clear())
        lines = answer["sdp"].splitlines()
        candidates = [line for line in lines if line.startswith("a=candidate:")]
        inside = next(words[4] for line in candidates if ":" not in (words := line.split())[4] and words[4] != OUTSIDE)
        translator, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Translator((inside, port)), local_addr=(OUTSIDE, port)
        )
        hidden = [line for line in candidates if line.split()[4] != OUTSIDE]
        await client.accept({"sdp": "\r\n".join(line for line in lines if line not in hidden) + "\r\n"})
        assert (await stage.picture()).image.width == 64
        await client.connection.close()
        translator.close()

    on_stage(scene)


def test_a_stun_server_tells_the_outer_address_and_a_silent_one_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ingest.webrtc.peer.GATHER_S", 0.3)

    async def scene(stage: Stage) -> None:
        server, _ = await asyncio.get_running_loop().create_datagram_endpoint(Mirror, local_addr=("127.0.0.1", 0))
        silent = socket.create_server(("127.0.0.1", 0))  # takes connections and says nothing
        webrtc = WebRtcConfig.model_validate({"ice_servers": [
            {"url": f"stun:127.0.0.1:{server.get_extra_info('sockname')[1]}"},
            {"url": f"turn:127.0.0.1:{silent.getsockname()[1]}?transport=tcp", "username": "u",
             "credential": "hunter2"},
        ]})  # fmt: skip
        client = Client()
        answer = await stage.publish(client, webrtc=webrtc.in_clear())
        assert f"{OUTSIDE} 4242 typ srflx" in answer["sdp"]
        await stage.picture()
        await client.connection.close()
        server.close()
        silent.close()

    on_stage(scene)
    told = capsys.readouterr().out
    assert "going on without" in told
    assert "turn:127.0.0.1" in told
    assert "stun:127.0.0.1" not in told
    assert "hunter2" not in told


def test_a_range_without_a_free_port_is_told() -> None:
    async def scene(stage: Stage) -> None:
        port = free_ports(1)
        holding = [hold(family, port) for family in (socket.AF_INET, socket.AF_INET6)]
        webrtc = WebRtcConfig.model_validate({"udp_ports": f"{port}-{port}"})
        client = Client()
        with pytest.raises(NoPortError, match=f"{port}-{port}"):
            await stage.desk.offer("one", await client.offer(), webrtc.in_clear())
        for held in holding:
            held.close()
        await client.connection.close()

    on_stage(scene)


def test_publishers_that_come_and_go_leave_nothing_behind() -> None:
    async def scene(stage: Stage) -> None:
        process = psutil.Process()

        async def once() -> None:
            client = Client()
            await stage.publish(client)
            await stage.picture()
            await stage.desk.end("one")
            await stage.lost()
            await client.connection.close()

        def held() -> tuple[int, int, int]:
            """Threads other than asyncio's own pool, which grows as it likes; descriptors; tasks."""
            threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
            return len(threads), process.num_fds(), len(asyncio.all_tasks())

        await once()
        before = held()
        for _ in range(5):
            await once()
        after = held()
        assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)

    on_stage(scene)


@pytest.mark.parametrize("ports", ["50000", "50100-50000", "80-90", "50000-70000", "a-b", ""])
def test_what_is_no_range_of_ports_is_refused(ports: str) -> None:
    with pytest.raises(ValidationError, match="range"):
        WebRtcConfig(udp_ports=ports)


@pytest.mark.parametrize("url", ["stun.example.org", "http://x", "stuns:x", "stun:a b", "turn:x?transport=sctp"])
def test_what_is_no_ice_server_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        WebRtcConfig.model_validate({"ice_servers": [{"url": url, "username": "u", "credential": "c"}]})


def test_a_turn_server_needs_a_login() -> None:
    with pytest.raises(ValidationError, match="credential"):
        WebRtcConfig.model_validate({"ice_servers": [{"url": "turn:turn.example.org"}]})


OUTSIDE = "127.0.0.2"


class Translator(asyncio.DatagramProtocol):
    """Forwards UDP between whoever writes first and `inside`, as a router or a container's port does."""

    def __init__(self, inside: tuple[str, int]) -> None:
        self._inside = inside
        self._transport: asyncio.DatagramTransport | None = None
        self._behind: dict[Any, asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        task = asyncio.create_task(self._forward(data, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, data: bytes, address: Any) -> None:
        if address not in self._behind:
            back = Back(lambda answer: self._transport and self._transport.sendto(answer, address))
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: back, remote_addr=self._inside
            )
            self._behind.setdefault(address, transport)
        self._behind[address].sendto(data)

    def connection_lost(self, error: Exception | None) -> None:
        for transport in self._behind.values():
            transport.close()


class Mirror(asyncio.DatagramProtocol):
    """A STUN server that sees everybody come from `OUTSIDE`, port 4242."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        request = stun.parse_message(data)
        answer = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        answer.attributes["XOR-MAPPED-ADDRESS"] = (OUTSIDE, 4242)
        self._transport.sendto(bytes(answer), address)


class Back(asyncio.DatagramProtocol):
    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._send(data)


def hold(family: socket.AddressFamily, port: int) -> socket.socket:
    held = socket.socket(family, socket.SOCK_DGRAM)
    if family is socket.AF_INET6:
        held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    held.bind(("", port))
    return held


def free_ports(count: int) -> int:
    """The first of `count` UDP ports in a row that are free on every address."""
    for first in range(53000, 60000, count):
        try:
            held = [hold(family, first + n) for n in range(count) for family in (socket.AF_INET, socket.AF_INET6)]
        except OSError:
            continue
        for one in held:
            one.close()
        return first
    raise AssertionError("no free ports")
