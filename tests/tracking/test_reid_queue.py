"""When there is no time for the features of all frames, the newest get them and nobody waits for long."""

from __future__ import annotations

from typing import cast

import numpy as np

from ingest.frame import Frame
from tracking.reid.queue import BATCH_S, BEGIN_S, CROP_S, LEAST_CROPS, MOST_CROPS, WAITING, ReidQueue, Request


def request(stream: str, since_s: float = 0.0, boxes: int = 1, patient: bool = False) -> Request:
    return Request(stream, cast(Frame, None), np.zeros((boxes, 4), np.float32), since_s, patient, lambda _: None)


def test_frames_of_several_streams_are_worked_on_together_in_the_order_in_which_they_came() -> None:
    queue = ReidQueue()
    requests = [request(stream) for stream in "abca"]
    assert [queue.add(one) for one in requests] == [None] * 4
    assert queue.take(0.0) == (requests, [])
    assert queue.take(0.0) == ([], [])


def test_a_stream_that_is_too_fast_gives_up_its_own_oldest() -> None:
    queue = ReidQueue()
    other, *own = request("b"), *(request("a") for _ in range(WAITING + 1))
    assert [queue.add(one) for one in (other, *own)] == [None] * (WAITING + 1) + [own[0]]
    assert queue.take(0.0)[0] == [other, *own[1:]]


ROOM = int(BATCH_S / CROP_S)


def test_a_batch_takes_about_so_long_but_always_a_frame() -> None:
    queue = ReidQueue()
    crowd, half, rest = request("a", boxes=ROOM), request("b", boxes=ROOM // 2), request("c", boxes=ROOM // 2)
    more = request("d")
    for one in (crowd, half, rest, more):
        queue.add(one)
    assert [queue.take(0.0)[0] for _ in range(3)] == [[crowd], [half, rest], [more]]


def test_on_a_slow_machine_the_surest_objects_get_features() -> None:
    queue = ReidQueue()
    for _ in range(50):
        queue.took(10, 10 * BATCH_S / 12.5)
    live, patient = request("a", boxes=40), request("b", boxes=40, patient=True)
    for one in (live, patient):
        one.boxes[:, 0] = np.arange(40)
        queue.add(one)
    assert [queue.take(0.0)[0] for _ in range(2)] == [[live], [patient]]
    assert live.boxes[:, 0].tolist() == list(range(12))
    assert len(patient.boxes) == 40, "of a file nothing is left out"


def test_however_slow_it_is_some_objects_get_features_and_however_fast_not_too_many_at_once() -> None:
    for crop_s, room in ((100.0, LEAST_CROPS), (1e-9, MOST_CROPS)):
        queue = ReidQueue()
        for _ in range(100):
            queue.took(1, crop_s)
        one = request("a", boxes=100)
        queue.add(one)
        queue.take(0.0)
        assert len(one.boxes) == room


def test_what_has_waited_for_too_long_is_not_begun_with() -> None:
    queue = ReidQueue()
    old, new = request("a", since_s=0.0), request("b", since_s=1.0)
    queue.add(old)
    queue.add(new)
    assert queue.take(BEGIN_S) == ([old, new], [])
    queue.add(old)
    queue.add(new)
    assert queue.take(BEGIN_S + 0.001) == ([new], [old])


def test_a_stream_that_may_lose_nothing_waits() -> None:
    queue = ReidQueue()
    requests = [request("a", patient=True) for _ in range(WAITING + 3)]
    assert [queue.add(one) for one in requests] == [None] * len(requests)
    assert queue.take(1000.0) == (requests, [])


def test_what_is_withdrawn_is_not_worked_on() -> None:
    queue = ReidQueue()
    first, second = request("a"), request("a")
    queue.add(first)
    queue.add(second)
    queue.withdraw(first)
    queue.withdraw(first)
    assert queue.take(0.0)[0] == [second]
    queue.withdraw(second)
    assert queue.clear() == []
