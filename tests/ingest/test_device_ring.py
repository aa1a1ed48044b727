"""The ring in GPU memory, on the CPU as far as that goes: slots, bounds, and the handle that opens it elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ingest.device_ring import DeviceRing, device_of, pack_handle, unpack_handle

SLOT_BYTES = 32 * 64 * 3
CPU = torch.device("cpu")
SHARED = (1, b"\x00memory\xff", 4096, 512, b"/torch_1_2", 3, b"event\x80", True)


def test_slots_do_not_overlap() -> None:
    ring = DeviceRing.create(3, SLOT_BYTES, CPU)
    for slot in range(3):
        ring.picture(slot, 32, 64)[:] = slot + 1
    assert [ring.picture(slot, 32, 64).unique().tolist() for slot in range(3)] == [[1], [2], [3]]


def test_a_picture_is_the_slots_own_memory_and_contiguous() -> None:
    ring = DeviceRing.create(2, SLOT_BYTES, CPU)
    picture = ring.picture(1, 10, 20)
    assert picture.shape == (10, 20, 3)
    assert picture.is_contiguous()
    picture.fill_(9)
    assert int(ring.picture(1, 32, 64).sum()) == 9 * 600
    assert int(ring.picture(0, 32, 64).sum()) == 0


@pytest.mark.parametrize(("slot", "height", "width"), [(2, 32, 64), (-1, 32, 64), (0, 33, 64), (1, 32, 65)])
def test_a_slot_or_size_out_of_range_is_refused(slot: int, height: int, width: int) -> None:
    with pytest.raises(ValueError, match="no room"):
        DeviceRing.create(2, SLOT_BYTES, CPU).picture(slot, height, width)


def test_memory_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="not 5 of them"):
        DeviceRing(torch.zeros(5, dtype=torch.uint8), 2, 3)


def test_a_handle_arrives_as_it_was_sent() -> None:
    handle = pack_handle(SHARED, 8, SLOT_BYTES)
    assert unpack_handle(handle) == (SHARED, 8, SLOT_BYTES)
    assert device_of(handle) == 1


@pytest.mark.parametrize("handle", [b"", b"-", b"{}", b'{"slots": 1}'])
def test_what_is_no_handle_is_refused(handle: bytes) -> None:
    with pytest.raises(ValueError, match="not the handle"):
        unpack_handle(handle)


def test_what_one_process_hands_over_another_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own part, which only a GPU has, is played by the same memory."""
    ours = DeviceRing.create(2, SLOT_BYTES, CPU)
    storage = ours.picture(0, 32, 64).untyped_storage()
    received: list[tuple[object, ...]] = []

    def opened(*shared: object) -> torch.UntypedStorage:
        received.append(shared)
        return storage

    monkeypatch.setattr(torch.UntypedStorage, "_share_cuda_", lambda _: SHARED)
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared_cuda", staticmethod(opened))
    for name in ("init", "device", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: Anything())
    theirs = DeviceRing.open(ours.handle())
    assert received == [SHARED]
    theirs.picture(1, 32, 64).fill_(5)
    assert ours.picture(1, 32, 64).unique().tolist() == [5]


class Anything:
    """A context, or a stream that has nothing to wait for."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def synchronize(self) -> None: ...


OPENING = """
import sys
from ingest.device_ring import DeviceRing
ring = DeviceRing.open(bytes.fromhex(sys.argv[1]))
assert int(ring.picture(1, 32, 64).unique()) == 7
ring.picture(2, 32, 64).fill_(9)
import torch
torch.cuda.synchronize()
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_another_process_sees_the_same_memory() -> None:
    ring = DeviceRing.create(4, SLOT_BYTES, torch.device("cuda:0"))
    ring.picture(1, 32, 64).fill_(7)
    ran = subprocess.run(
        [sys.executable, "-c", OPENING, ring.handle().hex()], capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ring.picture(2, 32, 64).unique().tolist() == [9]
