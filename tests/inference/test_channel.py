"""The messages between a worker and a detector arrive as they were sent, and a dead peer is noticed."""

from __future__ import annotations

import os
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import channel
from inference.channel import Answer, Filled, Outcome
from inference.found import Found, Spans
from ingest.ring import Ring

u16, u32, u64 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
f32 = st.floats(width=32, allow_nan=False)


@given(st.builds(Filled, u32, u32, u16, u16, st.booleans(), f32, u64, u64, st.booleans(), st.booleans()))
def test_a_filled_slot_arrives_as_sent(message: Filled) -> None:
    assert channel.unpack_filled(channel.pack_filled(message)) == message


@given(
    st.tuples(u32, u32, st.sampled_from(Outcome), u16, u64, f32, f32),
    st.lists(st.tuples(*[f32] * 6), max_size=20),
)
def test_an_answer_arrives_as_sent(
    head: tuple[int, int, Outcome, int, int, float, float], found: list[tuple[float, ...]]
) -> None:
    rows = np.array(found, np.float32).reshape(-1, 6)
    arrived = channel.unpack_answer(channel.pack_answer(Answer(*head, Found(rows))))
    assert (
        arrived.slot, arrived.stream, arrived.outcome, arrived.batch, arrived.seq, arrived.wait_s, arrived.infer_s
    ) == head  # fmt: skip
    assert isinstance(arrived.outcome, Outcome)
    assert arrived.found.rows.dtype == np.float32
    assert np.array_equal(arrived.found.rows, rows)


def test_the_largest_answer_fits_a_message() -> None:
    """`detector.max_detections` is at most 1000."""
    found = Found(np.ones((1000, 6), np.float32), keypoints=np.ones((1000, 17, 3), np.float32))
    answer = Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, found.within(channel.MAX_DETAIL_BYTES))
    packed = channel.pack_answer(answer)
    assert len(packed) > 110_000
    ours, theirs = pair()
    with ours, theirs:
        channel.send(ours, packed)
        arrived = channel.unpack_answer(theirs.recv(channel.MAX_MESSAGE_BYTES)).found
    assert len(arrived.rows) == 1000
    assert arrived.detailed == channel.MAX_DETAIL_BYTES // (17 * 3 * 4)


def test_a_plain_answer_is_its_rows_and_33_bytes_more() -> None:
    answer = Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, Found(np.ones((7, 6), np.float32)))
    assert len(channel.pack_answer(answer)) <= 7 * 24 + 36


def spans(lengths: list[int]) -> Spans:
    """Masks of so many spans each."""
    table = np.arange(3 * sum(lengths), dtype=np.uint16).reshape(-1, 3)
    return Spans(table, np.cumsum(lengths).astype(np.int32))


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("parts", ["k", "c", "m", "f", "mf", "kcmf"])
def test_details_arrive_as_sent(parts: str, count: int) -> None:
    rng = np.random.default_rng(0)
    found = Found(
        rng.random((count, 6), np.float32),
        keypoints=rng.random((count, 5, 3), np.float32) if "k" in parts else None,
        corners=rng.random((count, 4, 2), np.float32) if "c" in parts else None,
        masks=spans([2, 0, 5][:count]) if "m" in parts else None,
        features=rng.random((count, 8)).astype(np.float16) if "f" in parts else None,
    )
    arrived = channel.unpack_answer(channel.pack_answer(Answer(1, 2, Outcome.ANALYSED, 1, 3, 0.0, 0.0, found))).found
    assert np.array_equal(arrived.rows, found.rows)
    pairs = [(getattr(found, part), getattr(arrived, part)) for part in ("keypoints", "corners", "features")]
    for sent, come in pairs:
        assert (sent is None) == (come is None)
        assert sent is None or come is None or np.array_equal(sent, come)
    assert (found.masks is None) == (arrived.masks is None)
    if found.masks is not None and arrived.masks is not None:
        assert np.array_equal(found.masks.spans, arrived.masks.spans)
        assert np.array_equal(found.masks.ends, arrived.masks.ends)


def test_what_does_not_fit_goes_from_the_weakest_object_on_and_boxes_stay() -> None:
    found = Found(np.ones((3, 6), np.float32), masks=spans([10, 20, 30]))
    exactly_two = (10 + 20) * 6 + 2 * 4
    assert found.within(10_000) is found
    for limit, left in ((exactly_two, 2), (exactly_two - 1, 1), (0, 0)):
        fitting = found.within(limit)
        assert (len(fitting.rows), fitting.detailed) == (3, left)
        answer = Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, fitting)
        arrived = channel.unpack_answer(channel.pack_answer(answer)).found
        assert (len(arrived.rows), arrived.detailed) == (3, left)
        assert arrived.masks is not None
        assert len(arrived.masks.spans) == sum([10, 20, 30][:left])


def test_features_of_the_weakest_go_where_an_answer_cannot_carry_all() -> None:
    found = Found(np.ones((1000, 6), np.float32), features=np.ones((1000, 192), np.float16))
    fitting = found.within(channel.MAX_DETAIL_BYTES)
    packed = channel.pack_answer(Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, fitting))
    assert len(packed) <= channel.MAX_MESSAGE_BYTES
    arrived = channel.unpack_answer(packed).found
    assert len(arrived.rows) == 1000
    assert arrived.features is not None and len(arrived.features) == channel.MAX_DETAIL_BYTES // (192 * 2)


def test_rows_that_are_a_view_of_a_larger_table_are_packed_whole() -> None:
    table = np.arange(48, dtype=np.float32).reshape(4, 12)
    answer = Answer(0, 0, Outcome.ANALYSED, 1, 1, 0.0, 0.0, Found(table[::2, ::2]))
    assert np.array_equal(channel.unpack_answer(channel.pack_answer(answer)).found.rows, table[::2, ::2])


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_hello_hands_the_ring_over() -> None:
    worker, detector = pair()
    with worker, detector:
        ring = Ring.create(4, 3000)
        ring.picture(3, 10, 100)[:] = 42
        channel.send_hello(worker, ring.fd, 4, 3000)
        fd, slots, slot_bytes, wants_device_ring = channel.receive_hello(detector)
        assert (slots, slot_bytes, wants_device_ring) == (4, 3000, False)
        theirs = Ring(fd, slots, slot_bytes)
        assert (theirs.picture(3, 10, 100) == 42).all()
        theirs.close()
        ring.close()


@pytest.mark.parametrize("handle", [b'{"memory": "00"}', None])
def test_a_ring_in_gpu_memory_is_granted_or_not(handle: bytes | None) -> None:
    worker, detector = pair()
    with worker, detector:
        ring = Ring.create(1, 300)
        channel.send_hello(worker, ring.fd, 1, 300, wants_device_ring=True)
        fd, *_, wants_device_ring = channel.receive_hello(detector)
        assert wants_device_ring
        channel.send_grant(detector, handle)
        assert channel.receive_grant(worker) == handle
        os.close(fd)
        ring.close()


def test_a_detector_that_is_gone_before_its_grant_is_an_eof() -> None:
    worker, detector = pair()
    detector.close()
    with worker, pytest.raises(EOFError, match="before its first message"):
        channel.receive_grant(worker)


def test_a_worker_that_is_gone_before_its_hello_is_an_eof() -> None:
    worker, detector = pair()
    worker.close()
    with detector, pytest.raises(EOFError, match="before its first message"):
        channel.receive_hello(detector)


def test_messages_stay_apart() -> None:
    worker, detector = pair()
    with worker, detector:
        messages = [Filled(slot, 1, 384, 640, False, 1.0, slot, 5) for slot in range(3)]
        for message in messages:
            channel.send(worker, channel.pack_filled(message))
        arrived = [channel.unpack_filled(detector.recv(channel.MAX_MESSAGE_BYTES)) for _ in messages]
    assert arrived == messages


def test_sending_to_a_dead_peer_fails_at_once() -> None:
    worker, detector = pair()
    detector.close()
    with worker, pytest.raises(OSError, match=r"Broken pipe|reset"):
        channel.send(worker, b"x")


def test_a_peer_that_never_reads_is_given_up_on() -> None:
    worker, detector = pair()
    with worker, detector, pytest.raises(TimeoutError):
        for _ in range(100_000):
            channel.send(worker, b"x" * 1000)


def test_the_received_descriptor_is_another_one() -> None:
    worker, detector = pair()
    with worker, detector:
        ring = Ring.create(1, 300)
        channel.send_hello(worker, ring.fd, 1, 300)
        fd = channel.receive_hello(detector)[0]
        assert fd != ring.fd
        ring.close()
        assert os.fstat(fd).st_size == 300
        os.close(fd)
