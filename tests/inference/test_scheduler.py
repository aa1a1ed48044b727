"""Which frames the device takes next: the newest of each stream, in turn, one size at a time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.scheduler import CREDIT, Scheduler, Stream

SMALL, LARGE = (384, 640), (640, 640)
A, B, C = ("w1", 0), ("w1", 1), ("w2", 0)


def test_the_latest_frame_replaces_the_waiting_one() -> None:
    scheduler: Scheduler[str] = Scheduler()
    assert scheduler.offer(A, SMALL, "a1") is None
    assert scheduler.offer(A, SMALL, "a2") == "a1"
    assert len(scheduler) == 1
    assert scheduler.take({SMALL: 8}) == ["a2"]
    assert scheduler.take({SMALL: 8}) == []


def test_a_stream_that_keeps_all_queues_in_order() -> None:
    scheduler: Scheduler[str] = Scheduler()
    for item in ("a1", "a2", "a3"):
        assert scheduler.offer(A, SMALL, item, keep_all=True) is None
    assert len(scheduler) == 3
    assert [scheduler.take({SMALL: 8}) for _ in range(4)] == [["a1"], ["a2"], ["a3"], []]


def test_one_streams_frames_do_not_replace_anothers() -> None:
    scheduler: Scheduler[str] = Scheduler()
    assert scheduler.offer(A, SMALL, "a") is None
    assert scheduler.offer(B, SMALL, "b") is None
    assert scheduler.offer(C, SMALL, "c") is None
    assert sorted(scheduler.take({SMALL: 8})) == ["a", "b", "c"]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_streams_are_served_equally_however_unequally_they_offer(limit: int) -> None:
    """A offers ten frames for each one of B, and C queues all of its own."""
    scheduler: Scheduler[Stream] = Scheduler()
    served: Counter[Stream] = Counter()
    for turn in range(300):
        for _ in range(10):
            scheduler.offer(A, SMALL, A)
        scheduler.offer(B, SMALL, B)
        if turn == 0:
            for _ in range(400):
                scheduler.offer(C, SMALL, C, keep_all=True)
        served.update(scheduler.take({SMALL: limit}))
    assert served.total() == 300 * limit
    assert all(abs(served[stream] - 100 * limit) <= 1 for stream in (A, B, C))


@pytest.mark.parametrize("limit", [1, 3])
def test_streams_are_served_by_their_weights(limit: int) -> None:
    """Overloaded: each has a frame waiting at every turn."""
    scheduler: Scheduler[Stream] = Scheduler()
    weights = {A: 1.0, B: 3.0, C: 0.5, ("w2", 1): 1.0, ("w2", 2): 2.0}
    served: Counter[Stream] = Counter()
    for _ in range(1500):
        for stream, weight in weights.items():
            scheduler.offer(stream, SMALL, stream, weight=weight)
        served.update(scheduler.take({SMALL: limit}))
    if limit == 1:
        for stream, weight in weights.items():
            assert served[stream] / 1500 == pytest.approx(weight / 7.5, rel=0.02)
    assert served.total() == 1500 * limit
    assert served[B] >= served[("w2", 2)] >= served[A] >= served[C]


def test_a_stream_that_was_away_does_not_make_up_for_it() -> None:
    scheduler: Scheduler[Stream] = Scheduler()
    scheduler.offer(B, SMALL, B)
    scheduler.take({SMALL: 1})
    for _ in range(100):
        scheduler.offer(A, SMALL, A)
        scheduler.take({SMALL: 1})
    served: Counter[Stream] = Counter()
    for _ in range(20):
        scheduler.offer(A, SMALL, A)
        scheduler.offer(B, SMALL, B)
        served.update(scheduler.take({SMALL: 1}))
    assert abs(served[A] - served[B]) <= CREDIT + 2


def test_a_batch_holds_one_size() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.offer(A, SMALL, "a")
    scheduler.offer(B, LARGE, "b")
    scheduler.offer(C, SMALL, "c")
    assert scheduler.take({SMALL: 8, LARGE: 8}) == ["a", "c"]
    assert scheduler.take({SMALL: 8, LARGE: 8}) == ["b"]


def test_a_size_that_is_not_ready_holds_up_nobody_else() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.offer(A, LARGE, "a")
    scheduler.offer(B, SMALL, "b")
    assert scheduler.take({SMALL: 8}) == ["b"]
    assert scheduler.take({SMALL: 8}) == []
    assert scheduler.take({SMALL: 8, LARGE: 8}) == ["a"]


def test_the_rarer_size_is_not_starved() -> None:
    scheduler: Scheduler[str] = Scheduler()
    served: Counter[str] = Counter()
    streams: list[tuple[Stream, tuple[int, int], str]] = [(A, SMALL, "a"), (B, LARGE, "b"), (C, SMALL, "c")]
    for _ in range(100):
        for stream, size, item in streams:
            scheduler.offer(stream, size, item)
        served.update(scheduler.take({SMALL: 1, LARGE: 1}))
    assert all(served[item] in (33, 34) for item in ("a", "b", "c"))


def test_a_stream_that_changes_its_size_keeps_its_order() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.offer(A, SMALL, "a1", keep_all=True)
    scheduler.offer(A, LARGE, "a2", keep_all=True)
    assert scheduler.take({LARGE: 8}) == []
    assert scheduler.take({SMALL: 8, LARGE: 8}) == ["a1"]
    assert scheduler.take({SMALL: 8, LARGE: 8}) == ["a2"]


def test_forgotten_streams_are_gone_with_what_they_had_waiting() -> None:
    scheduler: Scheduler[str] = Scheduler()
    scheduler.offer(A, SMALL, "a")
    scheduler.offer(C, SMALL, "c")
    scheduler.forget({A, ("w9", 9)})
    assert scheduler.streams() == [C]
    assert scheduler.take({SMALL: 8}) == ["c"]


@given(st.data())
def test_no_frame_is_lost_or_given_out_twice(data: st.DataObject) -> None:
    """Every offered frame is waiting, replaced by a newer one of its stream, or taken once, oldest first."""
    scheduler: Scheduler[tuple[Stream, int]] = Scheduler()
    waiting: dict[Stream, list[tuple[tuple[Stream, int], tuple[int, int]]]] = {A: [], B: [], C: []}
    keeps = {A: False, B: True, C: False}
    for number in range(data.draw(st.integers(0, 60))):
        if data.draw(st.booleans()):
            stream, size = data.draw(st.sampled_from([A, B, C])), data.draw(st.sampled_from([SMALL, LARGE]))
            replaced = scheduler.offer(stream, size, (stream, number), keeps[stream])
            expected = waiting[stream].pop()[0] if waiting[stream] and not keeps[stream] else None
            assert replaced == expected
            waiting[stream].append(((stream, number), size))
        else:
            limit = data.draw(st.integers(1, 3))
            ready = data.draw(st.sets(st.sampled_from([SMALL, LARGE])))
            batch = scheduler.take(dict.fromkeys(ready, limit))
            taken = [waiting[item[0]].pop(0) for item in batch]
            assert batch == [item for item, _ in taken]
            assert len(batch) <= limit
            assert len({item[0] for item in batch}) == len(batch)
            assert len({size for _, size in taken}) <= 1
            assert all(size in ready for _, size in taken)
            assert batch or not any(queue and queue[0][1] in ready for queue in waiting.values())
        assert len(scheduler) == sum(len(queue) for queue in waiting.values())
