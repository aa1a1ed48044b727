"""What viewers are sent of a worker's streams, over the socket that the preview process has the other end of."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ingest.frame import Frame
from ingest.privacy import PrivacyMasks
from publish.preview import link as link_module
from publish.preview.annotate import Rules
from publish.preview.burned import LEAST_SIDE_PX, preview_size
from publish.preview.gallery import Gallery
from publish.preview.metrics import PreviewMetrics
from publish.preview.views import Views
from publish.preview.wire import Said, Seen, Unable, Unpacker, Unwatch, Video, WantKey, Watch, packed
from tests.ingest.clips import encoded
from tests.publish.preview.seen import decoded, frame, result

HALF = [(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]


class Show:
    """A worker's gallery, and the preview process' end of its socket."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.took: list[float] = []
        self.gallery = Gallery(
            PreviewMetrics(self.registry), self.took.append, asyncio.get_running_loop().call_soon_threadsafe
        )
        self._heard: list[Said] = []
        self._unpacker = Unpacker()

    async def connect(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.far = theirs
        theirs.setblocking(False)
        await self.gallery.connect(ours)

    async def say(self, *said: Said) -> None:
        await asyncio.get_running_loop().sock_sendall(self.far, b"".join(packed(one) for one in said))
        await settle()

    async def hear(self, kind: type[Any], count: int = 1, within_s: float = 10.0) -> list[Any]:
        """The next so many messages of a kind, and whatever came before them is forgotten."""
        got: list[Any] = []
        async with asyncio.timeout(within_s):
            while True:
                while self._heard and len(got) < count:
                    if isinstance(one := self._heard.pop(0), kind):
                        got.append(one)
                if len(got) == count:
                    return got
                self._heard += self._unpacker.feed(await asyncio.get_running_loop().sock_recv(self.far, 1 << 20))

    async def silent(self) -> bool:
        """Whether nothing more comes."""
        for _ in range(20):
            await asyncio.sleep(0.005)
        with contextlib.suppress(BlockingIOError):
            self._heard += self._unpacker.feed(self.far.recv(1 << 20))
        return not self._heard

    def counted(self, outcome: str) -> float:
        found = self.registry.get_sample_value("vigil_preview_frames_total", {"stream": "gate", "outcome": outcome})
        return found or 0.0


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def play(test: Callable[[Show], Awaitable[None]]) -> None:
    """Runs a test in a loop, with a preview process connected; when that is gone, nothing is left of it."""

    async def run() -> None:
        show = Show()
        await show.connect()
        await test(show)
        show.far.close()
        await asyncio.to_thread(_until, lambda: not preview_threads())

    asyncio.run(run())


def burned(**settings: Any) -> Watch:
    return Watch("gate", "burned", **{"max_side": 320, "fps": 100.0, "bitrate": 2_000_000, **settings})


CLIENT = Watch("gate", "client", 320, 25.0, 1_000_000)


def preview_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("preview")]


async def shown(show: Show, views: Views, one: Frame, *boxes: Any) -> Video:
    """The picture of a frame in which this was seen."""
    views.told(one, result(one, *boxes))
    (video,) = await show.hear(Video)
    assert isinstance(video, Video)
    return video


def test_a_picture_shows_its_own_boxes_and_tells_of_which_frame_it_is() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned())
        videos = []
        for n in range(6):
            box = (20.0 + 40 * n, 60.0, 60.0 + 40 * n, 160.0)
            videos.append(await shown(show, views, frame(n), box))
        assert [one.pts for one in videos] == [1000, 1001, 1002, 1003, 1004, 1005]
        assert videos[0].time_base_s == pytest.approx(1 / 25)
        assert [one.pts_ns for one in videos] == [frame(n).pts_ns for n in range(6)]
        assert [one.is_key for one in videos] == [True, *[False] * 5]
        for n, picture in enumerate(decoded("h264", *(one.data for one in videos))):
            drawn = np.abs(picture[100].astype(int) - picture[5, 5]).max(axis=1) > 40
            assert abs(int(np.flatnonzero(drawn)[0]) - (20 + 40 * n)) <= 2  # the box's left side
        assert show.counted("encoded") == 6 and len(show.took) == 6
        cpu_s = show.registry.get_sample_value("vigil_preview_cpu_seconds_total", {"stream": "gate"})
        assert cpu_s is not None and 0 < cpu_s <= sum(show.took)

    play(test)


def test_what_was_seen_is_told_with_its_frames_own_time_and_without_what_nobody_is_shown() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(CLIENT)
        one = frame(3)
        told = result(one, (1, 2, 3, 4))
        object.__setattr__(told.objects[0], "keypoints", [(1.0, 2.0, 0.5)])
        views.told(one, told)
        (seen,) = await show.hear(Seen)
        body = json.loads(seen.result)
        assert (seen.pts, seen.session) == (1003, 1) and body["objects"][0]["box"] == [1, 2, 3, 4]
        assert "keypoints" not in body["objects"][0]

    play(test)


def test_nothing_behind_a_privacy_mask_can_be_seen_in_an_encoded_picture() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=True)
        views.began(1, 25.0)
        await show.say(burned())
        luma = np.full((180, 320), 60.0)
        luma[80:100, 40:60] = 250.0  # behind the mask
        pictures = []
        for n in range(2):
            hidden = frame(n, luma=luma if n else np.full((180, 320), 60.0), masks=PrivacyMasks([HALF]))
            pictures.append((await shown(show, views, hidden)).data)
        without, with_it = decoded("h264", *pictures)
        assert np.abs(without[:, :160].astype(int) - with_it[:, :160]).max() <= 2
        assert np.abs(with_it[:, 4:150].astype(int) - 114).max() <= 8

    play(test)


def test_packets_of_a_stream_with_privacy_masks_are_refused_by_name_and_not_even_kept() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=True)
        await show.say(CLIENT)
        (no,) = await show.hear(Unable)
        assert (no.overlay, no.code) == ("client", "preview.masked") and views.live is None and not views.watched

    play(test)


def test_the_cameras_packets_come_from_the_last_key_frame_on_and_then_as_they_do() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        assert views.live is not None
        with av.open(io.BytesIO(encoded(frames=12, key_every=8, options={"sc_threshold": "0"}))) as container:
            video = container.streams.video[0]
            packets = [packet for packet in container.demux(video) if packet.size]
            views.live.begin(video, 0)
            views.live.begins(5)
            views.began(5, 25.0)
            for packet in packets[:4]:
                views.live.keep(packet, 1)
            await show.say(CLIENT)
            backlog = await show.hear(Video, 4)
            for packet in packets[4:]:
                views.live.keep(packet, 2)
            live = await show.hear(Video, 8)
        assert all(one.backlog for one in backlog) and not any(one.backlog for one in live)
        assert len(decoded("h264", *(one.data for one in (*backlog, *live)))) == 12
        assert {(one.session, one.codec, one.pts_ns) for one in live} == {(5, "h264", None)}
        assert show.counted("forwarded") == 12

    play(test)


def test_what_browsers_do_not_play_is_told_and_burned_pictures_go_on() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned(), CLIENT)  # no packets come: pictures of a folder, say
        (no,) = await show.hear(Unable)
        assert (no.overlay, no.code) == ("client", "preview.codec")
        assert (await shown(show, views, frame(0))).is_key

    play(test)


def test_a_stream_that_is_not_live_is_told_so_and_shown_as_soon_as_it_is() -> None:
    async def test(show: Show) -> None:
        await show.say(burned())
        (no,) = await show.hear(Unable)
        assert no.code == "preview.not_live"
        views = show.gallery.views("gate", Rules(), masked=False)  # it begins to be served here
        assert views.watched
        (no,) = await show.hear(Unable)
        views.began(1, 25.0)
        assert (await shown(show, views, frame(0))).session == 1
        views.ended()
        (no,) = await show.hear(Unable)
        assert no.code == "preview.not_live"
        views.began(2, 25.0)
        again = await shown(show, views, frame(0, session=2))
        assert again.is_key and again.session == 2

    play(test)


def test_a_key_frame_comes_when_a_viewer_wants_one_and_when_the_size_changes() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned())
        keys = [(await shown(show, views, frame(n))).is_key for n in range(2)]
        await show.say(WantKey("gate"))
        keys += [(await shown(show, views, frame(n))).is_key for n in range(2, 4)]
        wide = await shown(show, views, frame(4, size=(640, 160)))
        assert keys == [True, False, True, False] and wide.is_key
        assert decoded("h264", wide.data)[0].shape == (80, 320, 3)

    play(test)


def test_settings_follow_what_viewers_ask_for_last() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned())
        await shown(show, views, frame(0))
        await show.say(burned(max_side=160, fps=5.0))
        smaller = await shown(show, views, frame(1))
        for n in range(2, 6):
            views.told(frame(n), result(frame(n)))
        (video,) = await show.hear(Video)
        assert decoded("h264", smaller.data)[0].shape == (90, 160, 3)
        assert video.pts_ns >= frame(5).pts_ns  # of 25 frames a second every fifth

    play(test)


def test_when_pictures_come_too_fast_the_newest_wins_and_the_others_are_counted() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned())
        for n in range(10):  # the loop, in which this runs, hears of no picture that is done
            views.told(frame(n), result(frame(n)))
        first, last = await show.hear(Video, 2)
        assert (first.pts, last.pts) == (1000, 1009) and show.counted("dropped_busy") == 8

    play(test)


def test_nothing_runs_and_nothing_is_sent_while_nobody_watches() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        assert not views.watched and not views.wants_pictures and not preview_threads()
        await show.say(burned())
        await shown(show, views, frame(0))
        assert views.watched and views.wants_pictures and preview_threads()
        await show.say(Unwatch("gate", "burned"))
        assert not views.watched and not views.wants_pictures
        await asyncio.to_thread(_until, lambda: not preview_threads())
        assert await show.silent()

    play(test)


def _until(condition: Callable[[], bool]) -> None:
    ends = threading.Event()
    for _ in range(500):
        if condition():
            return
        ends.wait(0.01)
    raise AssertionError("it does not come to that")


def test_when_the_preview_process_is_gone_nothing_is_watched_and_the_next_one_is_served() -> None:
    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned(), CLIENT)
        assert views.watched
        show.far.close()
        async with asyncio.timeout(5):
            while views.watched:
                await asyncio.sleep(0.001)
        await show.connect()
        await show.say(burned())
        assert (await shown(show, views, frame(1))).is_key

    play(test)


def test_a_preview_process_that_does_not_read_costs_pictures_until_a_key_frame_and_never_makes_the_worker_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_module, "MOST_WAITING_BYTES", 0)  # beyond what the kernel takes
    monkeypatch.setattr(link_module, "SOCKET_BYTES", 4096)

    async def test(show: Show) -> None:
        views = show.gallery.views("gate", Rules(), masked=False)
        views.began(1, 25.0)
        await show.say(burned())
        rng, n = np.random.default_rng(0), 0
        while show.counted("dropped_link") < 3:
            views.told(frame(n, luma=rng.uniform(0, 255, (180, 320))), None)
            n += 1
            made = show.counted("encoded") + show.counted("dropped_link")
            async with asyncio.timeout(5):
                while show.counted("encoded") + show.counted("dropped_link") == made:
                    await asyncio.sleep(0.001)
        arrived = await show.hear(Video, int(show.counted("encoded")))  # it reads again
        views.told(frame(n), None)
        (then,) = await show.hear(Video)
        assert then.is_key and then.pts > arrived[-1].pts

    play(test)


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(64, 4096))
def test_pictures_are_even_and_no_larger_than_asked_for(width: int, height: int, side: int) -> None:
    across, down = preview_size(width, height, side)
    assert across % 2 == down % 2 == 0
    assert max(across, down) <= side and across <= max(width, LEAST_SIDE_PX) and down <= max(height, LEAST_SIDE_PX)
    if min(width, height) * side / max(width, height) > 200:
        assert across / down == pytest.approx(width / height, rel=0.02)


def test_a_size_that_costs_little_is_taken_when_it_is_near_the_one_asked_for() -> None:
    assert preview_size(1920, 1080, 1280) == (960, 540)
    assert preview_size(3840, 2160, 1280) == (1280, 720)
    assert preview_size(2560, 1440, 960) == (960, 540)
    assert preview_size(640, 360, 1280) == (640, 360)


def test_a_stream_of_few_pictures_a_second_gets_as_many_bits_as_one_of_many() -> None:
    async def test(show: Show) -> None:
        views, rng = show.gallery.views("gate", Rules(), masked=False), np.random.default_rng(0)
        await show.say(burned(bitrate=400_000, fps=30.0))
        rates = {}
        for session, fps in ((1, 25.0), (2, 5.0)):
            views.began(session, fps)
            size = 0
            for n in range(40):
                noisy = frame(n, session=session, rate=fps, luma=rng.uniform(0, 255, (180, 320)))
                size += len((await shown(show, views, noisy)).data) * (n >= 10)
            rates[fps] = size * 8 / (30 / fps)
        assert rates[5.0] > 0.7 * rates[25.0]

    play(test)
