"""A stream's newest picture, from the worker's memory to who asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import av
import cv2
import numpy as np
import pytest

from ingest.clock import Clock
from ingest.errors import VigilError
from ingest.frame import Frame
from ingest.privacy import FILL_VALUE, PrivacyMasks
from publish.schema import FrameResult, Model, ObjectSeen, Size
from publish.schema.composer import when
from tests.vigil.test_asking import Office
from vigil.asking import DeclinedError, answer
from vigil.easel import Easel
from vigil.stills import ask_still

NOISE = np.random.default_rng(1).integers(0, 255, (720, 1280, 3), np.uint8)
PATIENCE_S = 20.0
TAKEN_NS = 1_700_000_000_123_456_000
SEEN = ObjectSeen(track_id=3, class_id=0, class_name="person", confidence=0.9, box=(100, 100, 300, 600))


def frame(masks: PrivacyMasks | None = None) -> Frame:
    image = av.VideoFrame.from_ndarray(NOISE, "bgr24")
    return Frame("gate", 7, 42, 0, 0, TAKEN_NS, Clock.ARRIVAL, None, image, masks)


def result(session: int) -> FrameResult:
    return FrameResult(
        site="hq", stream="gate", session=session, seq=41, pts=0, captured_at=when(TAKEN_NS), latency_ms=1,
        frame=Size(width=1280, height=720), model=Model(name="toy", hash="0", runtime="onnx"), config_rev="0",
        objects=[SEEN],
    )  # fmt: skip


class Studio(Office):
    """A worker with an easel, at the other end of a control socket."""

    def __init__(self, newest: Frame | None, seen: FrameResult | None = None) -> None:
        super().__init__()
        self.easel, self.newest, self.seen = Easel("gate"), newest, seen

    def _asked(self) -> None:
        order = self.theirs.receive()
        assert order is not None

        async def paint(question: str, asked: dict[str, object]) -> dict[str, object]:
            assert question == "still"
            return await self.easel.answer(self.newest, self.seen, **asked)  # type: ignore[arg-type]

        self.tasks.add(asyncio.create_task(answer(self.theirs, order, paint)))

    async def lend(self, question: str, fds: list[int], **data: object) -> dict[str, object]:
        def send(kind: str, **told: object) -> None:
            self.ours.send(kind, fds, **told)

        return await self.questions.ask(send, question, PATIENCE_S, **data)


def pictures_in_memory() -> list[str]:
    """What has been lent and not been closed."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return [target for link in links if os.path.lexists(link) and "memfd:still" in (target := os.readlink(link))]


def in_studio(
    newest: Frame | None, scene: Callable[[Studio], Awaitable[None]], seen: FrameResult | None = None
) -> None:
    async def play() -> None:
        studio = Studio(newest, seen)
        async with asyncio.timeout(3 * PATIENCE_S):
            await scene(studio)
        await asyncio.gather(*studio.tasks)
        assert pictures_in_memory() == []

    asyncio.run(play())


def test_a_picture_too_large_for_the_control_socket_comes_whole() -> None:
    async def scene(studio: Studio) -> None:
        found = await ask_still(studio.lend, boxes=False, max_side=1920, max_bytes=1 << 24)
        assert len(found.jpeg) > 1 << 18
        picture = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.shape == (720, 1280, 3)
        assert (found.session, found.seq, found.boxes_seq) == (7, 42, None)
        assert found.headers["Vigil-Captured-At"] == "2023-11-14T22:13:20.123456+00:00"

    in_studio(frame(), scene)


@pytest.mark.parametrize("max_bytes", [100_000, 20_000])
def test_a_picture_is_made_smaller_until_it_fits(max_bytes: int) -> None:
    async def scene(studio: Studio) -> None:
        found = await ask_still(studio.lend, boxes=False, max_side=1920, max_bytes=max_bytes)
        assert max_bytes / 4 < len(found.jpeg) <= max_bytes

    in_studio(frame(), scene)


@pytest.mark.parametrize(("session", "drawn"), [(7, True), (6, False)])
def test_boxes_are_those_of_the_same_session(session: int, drawn: bool) -> None:
    async def scene(studio: Studio) -> None:
        plain = await ask_still(studio.lend, boxes=False, max_side=1920, max_bytes=1 << 24)
        found = await ask_still(studio.lend, boxes=True, max_side=1920, max_bytes=1 << 24)
        assert (found.jpeg != plain.jpeg) == drawn
        assert found.boxes_seq == (41 if drawn else None)

    in_studio(frame(), scene, result(session))


def test_a_privacy_mask_hides_here_too() -> None:
    async def scene(studio: Studio) -> None:
        found = await ask_still(studio.lend, boxes=False, max_side=1920, max_bytes=1 << 24)
        picture = cv2.imdecode(np.frombuffer(found.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and np.allclose(picture[:, :632], FILL_VALUE, atol=2)

    in_studio(frame(PrivacyMasks([[(0, 0), (0.5, 0), (0.5, 1), (0, 1)]])), scene)


def test_a_stream_that_is_not_live_says_so() -> None:
    async def scene(studio: Studio) -> None:
        with pytest.raises(DeclinedError, match="not live") as caught:
            await ask_still(studio.lend, boxes=False, max_side=1920, max_bytes=1 << 24)
        assert isinstance(caught.value, VigilError) and caught.value.code == "stream.no_picture"

    in_studio(None, scene)
