"""Motion JPEG: one picture is made of a frame, however many look; who is slow misses some, who leaves costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from ingest.errors import VigilError
from publish import moving
from publish.media.still import Still
from publish.moving import MOST_VIEWERS, CrowdedError, Moving


class DarkError(VigilError):
    code = "stream.no_picture"


class SameError(VigilError):
    code = moving.SAME


class Camera:
    """Has a new frame whenever `seq` grows."""

    def __init__(self) -> None:
        self.seq = 0
        self.made = 0
        self.dark = False

    async def still(
        self, stream: str, boxes: bool, max_side: int, max_bytes: int, had: tuple[int, int] | None = None
    ) -> Still:
        assert (stream, boxes) == ("gate", True)
        if self.dark:
            raise DarkError("stream 'gate' is not live")
        if had == (1, self.seq):
            raise SameError("no newer picture")
        self.made += 1
        return Still(b"%d" % self.seq, 1, self.seq, datetime(2026, 11, 21, tzinfo=UTC), None)


def played(play: Callable[[Camera, Moving], Awaitable[None]]) -> None:
    async def run() -> None:
        camera = Camera()
        pictures = Moving(camera)
        await play(camera, pictures)
        await asyncio.sleep(0)
        assert len(pictures) == 0
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "pictures of gate"]

    asyncio.run(run())


def test_a_frame_becomes_one_picture_for_all_who_look() -> None:
    async def play(camera: Camera, pictures: Moving) -> None:
        viewers = [pictures.join("gate", 100) for _ in range(10)]
        streams = [pictures.pictures(viewer) for viewer in viewers]
        for camera.seq in range(5):
            seen = [await anext(stream) for stream in streams]
            assert {still.seq for still in seen} == {camera.seq}
        assert camera.made == 5
        for viewer in viewers:
            pictures.leave("gate", viewer)

    played(play)


def test_the_same_frame_is_not_shown_twice() -> None:
    async def play(camera: Camera, pictures: Moving) -> None:
        viewer = pictures.join("gate", 500)
        async with aclosing(pictures.pictures(viewer)) as stream:  # type: ignore[type-var]
            assert (await anext(stream)).seq == 0
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.05)
            assert not waiting.done() and camera.made == 1
            camera.seq = 1
            assert (await waiting).seq == 1
        pictures.leave("gate", viewer)

    played(play)


def test_who_is_slow_gets_the_newest_and_misses_the_rest() -> None:
    async def play(camera: Camera, pictures: Moving) -> None:
        slow, quick = pictures.join("gate", 0.5), pictures.join("gate", 500)
        of_quick = pictures.pictures(quick)
        for camera.seq in range(10):
            await anext(of_quick)
        assert (await anext(pictures.pictures(slow))).seq == 9
        pictures.leave("gate", slow)
        pictures.leave("gate", quick)

    played(play)


def test_a_stream_that_goes_dark_lets_its_viewers_go_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PATIENCE_S", 0.02)
    monkeypatch.setattr(moving, "RETRY_S", 0.01)

    async def play(camera: Camera, pictures: Moving) -> None:
        viewer = pictures.join("gate", 100)
        stream = pictures.pictures(viewer)
        await anext(stream)
        camera.dark = True
        with pytest.raises(DarkError):
            await anext(stream)
        pictures.leave("gate", viewer)

    played(play)


def test_only_so_many_may_watch() -> None:
    async def play(camera: Camera, pictures: Moving) -> None:
        viewers = [pictures.join("gate", 1) for _ in range(MOST_VIEWERS)]
        with pytest.raises(CrowdedError):
            pictures.join("gate", 1)
        for viewer in viewers:
            pictures.leave("gate", viewer)

    played(play)
