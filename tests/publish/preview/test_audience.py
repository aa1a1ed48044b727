"""Viewers within one process: real connections of aiortc's as players, real H.264 from a worker's side."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from itertools import count, pairwise
from typing import Any

import psutil
import pytest
from pylibsrtp import Session

from ingest.errors import VigilError
from publish.preview import outlet as outlet_module
from publish.preview import viewer as viewer_module
from publish.preview.outlet import Heard, Outlet
from publish.preview.rate import LOSSY_REPORTS, Trial
from publish.preview.wire import Unable, Watch
from tests.publish.preview.stage import ANY, LEVELS, Player, Worker, hall, until

# Of no meaning, but of several packets.
LARGE = b"\0\0\0\1\x65" + b"\x01" * 4000


def astray(player: Player) -> set[int]:
    """By how much the RTP times of messages miss those of the pictures that they are about."""
    shown = dict(player.frames[-20:])
    about = {told["seq"] % LEVELS: told["rtp"] for told in player.told[-20:]}
    both = shown.keys() & about.keys()
    assert len(both) > 5
    return {(about[number] - shown[number]) & 0xFFFFFFFF for number in both}


def test_a_player_sees_the_pictures_and_is_told_what_is_in_each() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player = Player()
            session = await there.admit(player)
            assert player.overlay == "client"
            await until("pictures", lambda: len(player.frames) > 20)
            await until("messages", lambda: len(player.told) > 10)
            numbers = [number for number, _ in player.frames]
            steps = {(after - before) % LEVELS for before, after in pairwise(numbers)}
            assert steps == {1}, "no picture is missing, none comes twice"
            assert astray(player) == {0}
            assert there.metric("vigil_preview_viewers", stream="gate", overlay="client") == 1
            await there.ask("whep.end", session=session)
            assert there.metric("vigil_preview_viewers", stream="gate", overlay="client") == 0
            await player.close()

    asyncio.run(play())


def test_who_sees_burned_pictures_is_told_what_is_in_each_too() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play("burned")
            player = Player()
            await there.admit(player, "burned")
            await until("messages", lambda: len(player.told) > 10 and len(player.frames) > 10)
            assert astray(player) == {0}
            await player.close()

    asyncio.run(play())


def refused(code: str, work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, None]:
    async def ask() -> None:
        with pytest.raises(VigilError) as refusal:
            await work
        assert refusal.value.code == code

    return ask()


def test_a_player_without_a_data_channel_gets_pictures_with_boxes() -> None:
    async def play() -> None:
        async with hall(linger=0) as there:
            there.worker.play("burned")
            player = Player(channel=False, audio=True, direction="sendrecv")
            await there.admit(player)
            assert player.overlay == "burned"
            await until("pictures", lambda: len(player.frames) > 5)
            assert set(there.worker.watched) == {"burned"}, "nothing else is made"
            watch = there.worker.watched["burned"]
            assert (watch.max_side, watch.fps, watch.bitrate) == (1280, 15, 2_500_000)
            (audio,) = [one for one in player.connection.getTransceivers() if one.kind == "audio"]
            assert audio.currentDirection == "inactive", "sound is turned down"
            await player.close()
            await until("nobody watches", lambda: not there.audience._viewers)
            await there.audience.look()
            await until("the encoder is let go", lambda: not there.worker.watched)

    asyncio.run(play())


def test_two_viewers_cost_one_view_and_who_comes_later_sees_at_once() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            first, second = Player(), Player()
            await there.admit(first)
            await until("the group to be half over", lambda: len(first.frames) > 12)
            await there.admit(second)
            await until("both", lambda: len(second.frames) > 15 and len(second.told) > 15)
            assert len(there.worker.of(Watch)) == 1
            assert astray(first) == astray(second) == {0}
            numbers = [number for number, _ in second.frames]
            assert {(after - before) % LEVELS for before, after in pairwise(numbers)} == {1}
            assert second.frames[1][1] - second.frames[0][1] == 90, "what came before is not waited for"
            await first.close()
            await second.close()

    asyncio.run(play())


@pytest.mark.parametrize("code", ["preview.codec", "preview.masked"])
def test_what_cannot_be_drawn_by_players_is_burned_in_or_refused_by_name(code: str) -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play("burned")
            asking = asyncio.create_task(there.admit(Player()))
            await until("asked for", lambda: there.worker.watched)
            there.worker.send(Unable("gate", "client", code, "because"))
            await asking
            assert set(there.worker.watched) == {"client", "burned"}
            await refused(code, there.admit(Player(), "client"))

    asyncio.run(play())


def test_a_stream_that_is_not_live_keeps_its_viewers_until_it_is() -> None:
    async def play() -> None:
        async with hall() as there:
            player = Player()
            asking = asyncio.create_task(there.admit(player))
            await until("asked for", lambda: there.worker.watched)
            there.worker.send(Unable("gate", "client", "preview.not_live", "away"))
            await asking
            await until("connected", lambda: player.connection.connectionState == "connected")
            there.worker.play()
            await until("pictures", lambda: player.frames)
            await player.close()

    asyncio.run(play())


def test_a_view_that_turns_out_impossible_ends_its_sessions() -> None:
    async def play() -> None:
        async with hall() as there:
            player = Player()
            there.worker.play()
            await there.admit(player)
            await until("pictures", lambda: player.frames)
            there.worker.watched.clear()
            there.worker.send(Unable("gate", "client", "preview.codec", "it is HEVC now"))
            await until("the session is over", lambda: not there.audience._viewers)
            await refused("preview.codec", there.admit(Player(), "client"))
            await player.close()

    asyncio.run(play())


def test_another_worker_goes_on_in_the_same_session() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player = Player()
            await there.admit(player)
            await until("pictures", lambda: len(player.frames) > 3)
            await there.worker.close()
            await until("its end is told", lambda: there.broken == ["worker-0"])
            replacement = Worker()
            replacement.session = 2
            await there.link(replacement)
            replacement.play()
            before = len(player.frames)
            await until("more", lambda: len(player.frames) > before + 10)
            times = [rtp for _, rtp in player.frames]
            assert times == sorted(times)
            assert len(there.audience._viewers) == 1
            await player.close()

    asyncio.run(play())


def test_a_packet_that_was_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player = Player()
            await there.admit(player)
            await until("pictures", lambda: len(player.frames) > 3)
            (viewer,) = there.audience._viewers.values()
            sending, lost = Outlet._send_run, []

            def lossy(outlet: Outlet, *arguments: Any) -> None:
                if there.worker.sent % 5 == 0 and there.worker.sent not in lost:
                    lost.append(there.worker.sent)
                else:
                    sending(outlet, *arguments)

            monkeypatch.setattr(Outlet, "_send_run", lossy)
            first = len(player.frames)
            await until("losses", lambda: len(lost) > 3)
            await until("pictures", lambda: len(player.frames) > first + 15)
            numbers = [number for number, _ in player.frames]
            assert {(after - before) % LEVELS for before, after in pairwise(numbers)} == {1}
            await there.audience.look()
            assert there.metric("vigil_preview_packets_resent_total", stream="gate") >= 3
            assert viewer.outlet is not None
            await player.close()

    asyncio.run(play())


def test_a_player_that_underrates_its_network_gets_all_pictures_and_one_that_loses_them_key_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def play() -> None:
        async with hall(key_every=5) as there:
            there.worker.play()
            player = Player()
            await there.admit(player)
            await until("pictures", lambda: len(player.frames) > 3)

            async def steps_after(*heard: Heard) -> set[int]:
                """Between the pictures that are seen when the player has said this, a second apart."""
                for one in heard:

                    async def report(outlet: Outlet, said: Heard = one) -> Heard:
                        return said

                    monkeypatch.setattr(Outlet, "report", report)
                    await there.audience.look()
                first = len(player.frames) + 2  # these may have been on their way
                await until("pictures", lambda: len(player.frames) > first + 5)
                numbers = [number for number, _ in player.frames[first:]]
                return {(after - before) % LEVELS for before, after in pairwise(numbers)}

            assert await steps_after(*[Heard(lost=0.0, estimate=1_000, sent_bytes=9_000)] * 5) == {1}
            assert await steps_after(*[Heard(lost=0.4, sent_bytes=9_000)] * LOSSY_REPORTS) == {5}
            (viewer,) = there.audience._viewers.values()
            viewer.trial = Trial(keys_only=True)  # long ago
            assert await steps_after(Heard(lost=0.0, sent_bytes=900)) == {1}
            await player.close()

    asyncio.run(play())


def test_a_kernel_that_cannot_cut_a_picture_into_datagrams_is_given_them_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet_module, "UDP_SEGMENT", 9999)

    async def play() -> None:
        async with hall() as there:
            there.worker.pictures = ((number, number == 0, LARGE) for number in count())
            there.worker.play()
            player = Player(channel=False)
            await there.admit(player, "client")
            (viewer,) = there.audience._viewers.values()
            await until("pictures", lambda: viewer.follower and viewer.follower.last)
            assert viewer.outlet is not None
            assert not viewer.outlet._segments
            assert viewer.outlet._packets >= 4
            await player.close()

    asyncio.run(play())


def test_what_cannot_be_encrypted_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with hall() as there:
            player = Player(channel=False)
            await there.admit(player, "client")
            (viewer,) = there.audience._viewers.values()
            await until("it is connected", lambda: viewer.follower)
            sent: list[int] = []
            monkeypatch.setattr(Outlet, "_send_run", lambda *_: sent.append(1))
            viewer.outlet.transport._tx_srtp = Session()  # has no key for anybody
            there.worker.play()
            await until("a picture was tried", lambda: viewer.outlet.take_counts().lost)
            assert not sent
            await player.close()

    asyncio.run(play())


def test_a_stream_that_moves_is_asked_for_at_its_new_worker() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player = Player()
            await there.admit(player)
            await until("pictures", lambda: player.frames)
            there.audience.links.streams("worker-0", [])
            other = Worker()
            other.session = 2
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            await other.connect(theirs)
            await there.audience.links.link("worker-1", [], ours)
            there.audience.links.streams("worker-1", ["gate"])
            other.play()
            await until("it is watched there", lambda: "client" in other.watched)
            before = len(player.frames)
            await until("more", lambda: len(player.frames) > before + 5)
            await player.close()
            await other.close()

    asyncio.run(play())


def test_there_are_only_so_many_viewers() -> None:
    async def play() -> None:
        async with hall(viewers=2, viewers_per_stream=1) as there:
            there.worker.play()
            player = Player()
            session = await there.admit(player)
            await refused("preview.too_many_viewers", there.admit(Player()))
            await there.ask("whep.end", session=session)
            await there.admit(Player())
            await player.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda sdp: "v=0", "whep.malformed"),
        (lambda sdp: sdp.replace("a=recvonly", "a=sendonly"), "whep.unacceptable"),
        (lambda sdp: sdp.replace("a=ice-ufrag", "a=x"), "whep.malformed"),
        (lambda sdp: sdp.replace("a=group:BUNDLE", "a=x"), "whep.unacceptable"),
        (lambda sdp: sdp.replace("H264", "H265"), "preview.codec"),
        (lambda sdp: sdp + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n" * 9, "whep.unacceptable"),
    ],
    ids=["nothing", "no receiver", "no ICE", "no bundle", "no H.264", "nine sections"],
)
def test_an_offer_that_cannot_be_taken_is_refused_by_name_and_leaves_nothing(
    change: Callable[[str], str], code: str
) -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            there.worker.play("burned")
            sdp = change(await Player().offer())
            await refused(code, there.ask("whep.offer", session="s", sdp=sdp, overlay="auto", webrtc=ANY))
            assert not there.audience._viewers

    asyncio.run(play())


def test_sessions_are_found_by_their_own_streams_url_only() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player = Player()
            session = await there.admit(player)
            ending = {"stream": "yard", "session": session}
            await refused("whep.unknown_session", there.audience.answer("whep.end", ending))
            await refused("whep.unknown_session", there.ask("whep.end", session="another"))
            fragment = f"a=ice-ufrag:{'x' * 4}\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
            await refused("whep.no_ice_restart", there.ask("whep.trickle", session=session, sdp=fragment))
            candidate = "m=video 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2113937151 127.0.0.1 9 typ host\r\n"
            assert await there.ask("whep.trickle", session=session, sdp=candidate) == {}
            await player.close()

    asyncio.run(play())


def test_each_viewer_takes_one_of_the_configured_ports_until_it_goes() -> None:
    ports = {**ANY, "udp_ports": "53170-53171"}

    def bound() -> set[int]:
        mine = psutil.Process().net_connections("udp")
        return {one.laddr.port for one in mine} & {53170, 53171}

    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            players = [Player(), Player()]
            sessions = [await there.admit(player, webrtc=ports) for player in players]
            for player in players:
                await until("pictures", lambda player=player: player.frames)
            assert bound() == {53170, 53171}
            await refused("webrtc.no_port", there.admit(Player(), webrtc=ports))
            for session in sessions:
                await there.ask("whep.end", session=session)
            assert not bound()
            for player in players:
                await player.close()

    asyncio.run(play())


def test_who_falls_silent_or_never_connects_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player, stranger = Player(), Player()
            await there.admit(player)
            sdp = await stranger.offer()
            await there.ask("whep.offer", session="never", sdp=sdp, overlay="auto", webrtc=ANY)
            await until("pictures", lambda: player.frames)
            monkeypatch.setattr(viewer_module, "SILENT_S", 0.0)
            monkeypatch.setattr(viewer_module, "CONNECT_WITHIN_S", 0.0)
            await there.audience.look()
            await until("both are gone", lambda: not there.audience._viewers)
            assert there.metric("vigil_preview_viewers", stream="gate", overlay="client") == 0
            await player.close()

    asyncio.run(play())


def test_viewers_that_come_and_go_leave_nothing_behind() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()

            async def once(number: int) -> None:
                player = Player()
                session = await there.admit(player)
                await until("a picture", lambda: player.frames)
                if number % 2:
                    await there.ask("whep.end", session=session)
                await player.close()
                await until("it is gone", lambda: not there.audience._viewers)

            def held() -> tuple[int, int, int]:
                process = psutil.Process()
                return process.num_fds(), process.num_threads(), len(asyncio.all_tasks())

            await once(0)
            await asyncio.sleep(0.1)
            before = held()
            for number in range(6):
                await once(number)
            await until("as before", lambda: all(now <= then for now, then in zip(held(), before, strict=True)), 5)
            gc.collect()
            kept = Counter(type(one).__name__ for one in gc.get_objects())
            assert kept["Viewer"] == kept["Outlet"] == kept["RTCPeerConnection"] == 0

    asyncio.run(play())


def test_a_stream_that_is_removed_ends_its_viewers() -> None:
    async def play() -> None:
        async with hall() as there:
            there.worker.play()
            player = Player()
            await there.admit(player)
            there.audience.forget("gate")
            await until("nobody is there", lambda: not there.audience._viewers)
            assert there.metric("vigil_preview_viewers", stream="gate", overlay="client") is None
            await player.close()

    asyncio.run(play())
