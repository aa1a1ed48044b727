"""Who comes in between key frames sees the newest picture at once; nobody is sent what he cannot decode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from publish.preview import fanout
from publish.preview.fanout import Follower, View
from publish.preview.timeline import CLOCK_HZ
from publish.preview.unit import Unit
from publish.preview.wire import Overlay, Seen, Unable, Video
from tests.publish.preview.stage import until

STEP = CLOCK_HZ // 25
SMALL = 40
FRAGMENT = 28


class Screen:
    """What one viewer is sent: numbers of pictures and their RTP times."""

    def __init__(self) -> None:
        self.ready = True
        self.shown: list[tuple[int, int]] = []

    def show(self, unit: Unit, rtp: int) -> None:
        first = unit.payloads[0]
        at = 2 if first[0] & 0x1F == FRAGMENT else 1
        self.shown.append((int.from_bytes(first[at : at + 4]) - MARK, rtp))

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.shown]


MARK = 0x01010101  # keeps numbers free of start codes


class Camera:
    """Numbered pictures, 25 a second by their own clock and by their arrival, a key frame every so often."""

    def __init__(self, view: View, key_every: int = 10, size: int = SMALL) -> None:
        self.view, self.key_every, self.size = view, key_every, size
        self.number, self.session, self.key = 0, 1, True

    def show(self, count: int = 1, backlog: bool = False) -> None:
        for _ in range(count):
            is_key = self.key or self.number % self.key_every == 0
            self.key = False
            unit = bytes([0x65 if is_key else 0x41]) + (MARK + self.number).to_bytes(4) + b"\x01" * self.size
            self.view.video(Video(
                self.view.stream, self.view.overlay, "h264", self.session, self.number, 1 / 25, None,
                self.number * 40_000_000, is_key, backlog, b"\0\0\0\1" + unit,
            ))  # fmt: skip
            self.number += 1


def played(test: Callable[[View, Camera], Awaitable[None]], overlay: Overlay = "client") -> None:
    async def play() -> None:
        asked: list[int] = []
        view = View("gate", overlay, lambda: asked.append(1))
        view.asked = asked  # type: ignore[attr-defined]
        await test(view, Camera(view))
        view.close()

    asyncio.run(play())


def join(view: View) -> tuple[Screen, Follower]:
    screen = Screen()
    follower = Follower(screen)
    view.follow(follower)
    return screen, follower


def gaps(screen: Screen) -> list[int]:
    return [after - before for (_, before), (_, after) in pairwise(screen.shown)]


def test_a_newcomer_gets_the_kept_pictures_squeezed_and_then_the_cameras_pace() -> None:
    async def test(view: View, camera: Camera) -> None:
        first, _ = join(view)
        camera.show(16)
        second, _ = join(view)
        assert second.numbers == [10, 11, 12, 13, 14, 15]
        assert set(gaps(second)) == {CLOCK_HZ // 1000}
        camera.show(3)
        assert second.numbers == list(range(10, 19))
        assert gaps(second)[-3:] == [STEP] * 3
        assert dict(first.shown)[18] == dict(second.shown)[18], "one time for all viewers"
        assert first.numbers == list(range(19))
        assert set(gaps(first)) == {STEP}

    played(test)


def test_a_newcomer_before_the_first_key_frame_waits_for_it() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, _ = join(view)
        camera.key, camera.number = False, 7
        camera.show(5)
        assert screen.numbers == [10, 11]

    played(test)


def test_what_the_worker_had_kept_is_sent_when_all_of_it_is_here() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, _ = join(view)
        camera.show(6, backlog=True)
        assert not screen.shown
        camera.show()
        assert screen.numbers == list(range(7))
        assert set(gaps(screen)) == {CLOCK_HZ // 1000}

    played(test)


def test_a_camera_that_is_slow_to_follow_up_keeps_nobody_waiting() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, _ = join(view)
        camera.show(6, backlog=True)
        await until("the kept pictures", lambda: screen.numbers == list(range(6)), 2)

    played(test)


def test_a_long_group_goes_out_in_bursts_and_in_order() -> None:
    async def test(view: View, camera: Camera) -> None:
        camera.key_every, camera.size = 100, 10_000
        camera.show(20)
        screen, _ = join(view)
        assert 0 < len(screen.shown) < 5
        camera.show(2)
        await until("all of it", lambda: len(screen.shown) == 22, 2)
        camera.show()
        assert screen.numbers == list(range(23))
        assert min(gaps(screen)) > 0

    played(test)


def test_a_key_frame_ends_the_catching_up() -> None:
    async def test(view: View, camera: Camera) -> None:
        camera.key_every, camera.size = 20, 10_000
        camera.show(19)
        screen, _ = join(view)
        sent = len(screen.shown)
        camera.show(2)
        await asyncio.sleep(3 * fanout.BURST_S)
        assert screen.numbers == [*range(sent), 20], "a new beginning, and nothing of the old group after it"
        assert min(gaps(screen)) > 0

    played(test)


def test_a_player_that_needs_a_key_frame_of_a_camera_gets_the_group_after_what_it_has_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanout, "START_AGAIN_EVERY_S", 0.0)

    async def test(view: View, camera: Camera) -> None:
        camera.key_every = 100
        screen, follower = join(view)
        camera.show(60)
        view.begin_again(follower)
        camera.show()
        assert screen.numbers == [*range(60), *range(61)]
        assert min(gaps(screen)) > 0, "players throw away what is older than what they have shown"
        assert sum(gaps(screen)[59:]) == STEP
        assert not view.asked  # type: ignore[attr-defined]

    played(test)


def test_who_asks_all_the_time_is_heard_once_a_second() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, follower = join(view)
        for _ in range(5):
            camera.show()
            view.begin_again(follower)
        assert screen.numbers == list(range(5))

    played(test)


def test_an_encoder_is_asked_for_a_key_frame_once_for_all_who_wait() -> None:
    async def test(view: View, camera: Camera) -> None:
        camera.key_every = 1000
        camera.show(fanout.FEW + 1)
        screens = [join(view)[0] for _ in range(3)]
        camera.show(3)
        assert len(view.asked) == 1  # type: ignore[attr-defined]
        assert not any(screen.shown for screen in screens)
        camera.key = True
        camera.show(2)
        assert all(screen.numbers == [12, 13] for screen in screens)

    played(test, "burned")


def test_a_few_pictures_are_sent_again_rather_than_a_key_frame_made() -> None:
    async def test(view: View, camera: Camera) -> None:
        camera.show(fanout.FEW)
        screen, _ = join(view)
        assert len(screen.shown) == fanout.FEW
        assert not view.asked  # type: ignore[attr-defined]

    played(test, "burned")


def test_a_group_that_is_too_large_is_not_kept_and_those_in_step_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "GROUP_PICTURES", 5)

    async def test(view: View, camera: Camera) -> None:
        first, _ = join(view)
        camera.show(8)
        late, _ = join(view)
        camera.show(3)
        assert first.numbers == list(range(11))
        assert late.numbers == [10]

    played(test)


def test_a_bad_network_is_sent_key_frames_and_all_again_from_the_next_one_on() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, follower = join(view)
        view.limit(follower, keys_only=True)
        camera.show(25)
        assert screen.numbers == [0, 10, 20]
        view.limit(follower, keys_only=False)
        camera.show(1)
        assert screen.numbers[-6:] == list(range(20, 26))
        assert min(gaps(screen)) > 0

    played(test)


def test_with_another_worker_all_begin_with_its_key_frame() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, _ = join(view)
        camera.show(5)
        view.lost_worker()
        camera.session, camera.number = 2, 33
        camera.show(3)
        assert screen.numbers == list(range(5)), "no key frame yet"
        camera.show(6)
        assert screen.numbers == [*range(5), 40, 41]
        assert min(gaps(screen)) > 0

    played(test)


def test_what_was_seen_has_the_time_of_its_picture() -> None:
    async def test(view: View, camera: Camera) -> None:
        screen, _ = join(view)
        camera.show(5)
        assert view.seen(Seen("gate", 1, 3, b"")) == dict(screen.shown)[3]
        assert view.seen(Seen("gate", 1, 9, b"")) is None
        view.cannot(Unable("gate", "client", fanout.CODE_NOT_LIVE, "away"))
        camera.show()
        assert view.unable is None, "it is live again"

    played(test)
