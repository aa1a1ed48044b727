"""A WHIP stream waits for publishers; the newest of their pictures reach its reader, never two publishers' as one."""

from __future__ import annotations

import threading

import av
import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from ingest.sources.whip import HANDOVER_FRAMES, Handover, Picture, WhipSource


class Stage:
    """A handover, what it dropped, and a publisher that numbers its pictures."""

    def __init__(self) -> None:
        self.dropped = 0
        self.handover = Handover(self.drop)

    def drop(self) -> None:
        self.dropped += 1

    def publish(self, publication: int, pts: int) -> None:
        image = av.VideoFrame(32, 16, "yuv420p")
        image.pts = pts
        self.handover.put(Picture(publication, image, "vp8", 0.002, skipped=3))

    def take(self, publication: int | None) -> int | None:
        picture = self.handover.take(publication)
        assert picture is not None
        return picture.image.pts


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_pictures_arrive_in_order(stage: Stage) -> None:
    first = stage.handover.begin()
    for pts in range(HANDOVER_FRAMES):
        stage.publish(first, pts)
    assert [stage.take(None), *(stage.take(first) for _ in range(HANDOVER_FRAMES - 1))] == list(range(HANDOVER_FRAMES))
    assert stage.dropped == 0


def test_a_late_reader_gets_the_newest_and_the_rest_is_counted(stage: Stage) -> None:
    first = stage.handover.begin()
    for pts in range(10):
        stage.publish(first, pts)
    assert stage.dropped == 10 - HANDOVER_FRAMES
    assert stage.take(None) == 10 - HANDOVER_FRAMES


def test_the_end_comes_after_the_last_picture_and_says_why(stage: Stage) -> None:
    first = stage.handover.begin()
    stage.publish(first, 0)
    stage.publish(first, 1)
    assert stage.take(None) == 0
    stage.handover.end(first, "the publisher ended its session")
    assert stage.take(first) == 1
    with pytest.raises(SourceError, match="ended its session") as caught:
        stage.take(first)
    assert caught.value.reason is Reason.LOST


def test_another_publishers_pictures_are_another_session(stage: Stage) -> None:
    first = stage.handover.begin()
    stage.publish(first, 0)
    assert stage.take(None) == 0
    stage.handover.end(first, "replaced")
    second = stage.handover.begin()
    stage.publish(second, 100)
    with pytest.raises(SourceError):
        stage.take(first)
    assert stage.take(None) == 100


def test_pictures_that_outlived_their_publisher_begin_no_session(stage: Stage) -> None:
    first = stage.handover.begin()
    stage.publish(first, 0)
    stage.handover.end(first, "gone")
    second = stage.handover.begin()
    stage.publish(second, 100)
    assert stage.take(None) == 100
    assert stage.dropped == 1


def test_a_publisher_that_is_over_publishes_nothing(stage: Stage) -> None:
    first = stage.handover.begin()
    second = stage.handover.begin()
    stage.publish(first, 0)
    stage.handover.end(first, "late news")
    stage.publish(second, 100)
    assert stage.take(None) == 100


def test_closing_wakes_a_reader_that_waits_for_a_publisher(stage: Stage) -> None:
    taken: list[Picture | None] = []
    reader = threading.Thread(target=lambda: taken.append(stage.handover.take(None)), daemon=True)
    reader.start()
    stage.handover.close()
    reader.join(5)
    assert taken == [None]


def test_the_source_yields_one_publishers_pictures_until_it_is_lost(stage: Stage) -> None:
    first = stage.handover.begin()
    stage.publish(first, 0)
    stage.publish(first, 3000)
    opening = open_source(SourceConfig(url="whip://"))
    assert isinstance(opening, WhipSource)
    opening.handover = stage.handover
    seen = []
    with opening as source, pytest.raises(SourceError):
        for image in source.frames():
            seen.append(image.pts)
            if len(seen) == 2:
                stage.handover.end(first, "gone")
    assert seen == [0, 3000]
    assert source.description == "vp8 32x16 by WHIP"
    assert source.decode_s == 0.002
    assert source.packets.broken == 3


def test_the_source_ends_when_the_stream_is_no_longer_read(stage: Stage) -> None:
    opening = WhipSource(SourceConfig(url="whip://"))
    opening.handover = stage.handover
    stage.handover.close()
    with opening as source:
        assert list(source.frames()) == []


def test_outside_a_service_there_is_nothing_to_open() -> None:
    with pytest.raises(SourceError, match="vigil run"), WhipSource(SourceConfig(url="whip://")):
        pass
