"""The ring: one memory, seen by every process that holds its descriptor."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from ingest.ring import FreeSlots, Ring

SLOT_BYTES = 32 * 64 * 3


def test_two_processes_see_the_same_picture() -> None:
    ours = Ring.create(4, SLOT_BYTES)
    pid = os.fork()
    if pid == 0:
        theirs = Ring(os.dup(ours.fd), 4, SLOT_BYTES)
        theirs.picture(2, 32, 64)[:] = 7
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert (ours.picture(2, 32, 64) == 7).all()
    assert (ours.picture(1, 32, 64) == 0).all()
    assert (ours.picture(3, 32, 64) == 0).all()
    ours.close()


def test_two_views_share_memory_both_ways() -> None:
    ours = Ring.create(2, SLOT_BYTES)
    theirs = Ring(os.dup(ours.fd), 2, SLOT_BYTES)
    picture = np.arange(SLOT_BYTES, dtype=np.uint32).astype(np.uint8).reshape(32, 64, 3)
    ours.picture(1, 32, 64)[:] = picture
    seen = theirs.picture(1, 32, 64)
    assert np.array_equal(seen, picture)
    seen[0, 0] = 200
    assert (ours.picture(1, 32, 64)[0, 0] == 200).all()
    del seen
    theirs.close()
    ours.close()


def test_slots_do_not_overlap() -> None:
    ring = Ring.create(3, SLOT_BYTES)
    for slot in range(3):
        ring.picture(slot, 32, 64)[:] = slot + 1
    assert [int(ring.picture(slot, 32, 64).min()) for slot in range(3)] == [1, 2, 3]
    assert [int(ring.picture(slot, 32, 64).max()) for slot in range(3)] == [1, 2, 3]
    ring.close()


def test_a_smaller_picture_fits_a_slot() -> None:
    ring = Ring.create(1, SLOT_BYTES)
    assert ring.picture(0, 10, 20).shape == (10, 20, 3)
    ring.close()


@pytest.mark.parametrize(("slot", "height", "width"), [(2, 32, 64), (-1, 32, 64), (0, 33, 64), (1, 32, 65)])
def test_a_slot_or_size_out_of_range_is_refused(slot: int, height: int, width: int) -> None:
    ring = Ring.create(2, SLOT_BYTES)
    with pytest.raises(ValueError, match="no room"):
        ring.picture(slot, height, width)
    ring.close()


def test_closing_while_a_picture_is_in_use_is_safe() -> None:
    ring = Ring.create(1, SLOT_BYTES)
    picture = ring.picture(0, 32, 64)
    picture[:] = 9
    ring.close()
    assert (picture == 9).all()
    picture[:] = 5
    assert (picture == 5).all()


def test_closing_gives_the_descriptor_back() -> None:
    ring = Ring.create(1, SLOT_BYTES)
    ring.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ring.fd)


def test_the_peers_view_outlives_ours() -> None:
    ours = Ring.create(1, SLOT_BYTES)
    theirs = Ring(os.dup(ours.fd), 1, SLOT_BYTES)
    ours.picture(0, 32, 64)[:] = 3
    ours.close()
    assert (theirs.picture(0, 32, 64) == 3).all()
    theirs.close()


def test_free_slots_are_given_out_once_each() -> None:
    slots = FreeSlots(range(4, 8))
    assert slots.capacity == 4
    assert sorted(slots.take() or 0 for _ in range(4)) == [4, 5, 6, 7]
    assert slots.take() is None
    slots.give_back(6)
    assert slots.take() == 6
    assert slots.take() is None


def test_slot_zero_is_a_slot() -> None:
    assert FreeSlots(range(1)).take() == 0


def test_waiting_for_a_slot_ends_when_one_comes_back() -> None:
    slots = FreeSlots(range(1))
    slots.take()
    threading.Timer(0.02, slots.give_back, [0]).start()
    assert slots.take(wait_s=10) == 0


def test_waiting_for_a_slot_ends_in_time() -> None:
    slots = FreeSlots(range(0))
    began = time.monotonic()
    assert slots.take(wait_s=0.02) is None
    assert time.monotonic() - began < 5
