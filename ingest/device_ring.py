"""The frame ring in GPU memory: slots as those of `ingest/ring.py`, for pictures that never were on the host.

The detector owns the memory, so that a worker may die at any time and take nothing with it; the worker opens it by
CUDA IPC. Slot n here and slot n of the worker's ring in host memory are one slot: a message says which of the two its
picture is in, and it is owned and given back as one.

Order between the processes: the worker sends a slot's message when the kernels that fill it have ended (it waits for
their CUDA event), and the detector answers when those that read it have; neither needs the other's streams.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where glibc's shm_open keeps its files
# What `UntypedStorage._share_cuda_` returns: as JSON knows no bytes, these are hexadecimal there.
FIELDS = (
    "device", "memory", "size_bytes", "offset_bytes", "counter", "counter_offset", "event", "event_sync",
)  # fmt: skip
BYTES = ("memory", "counter", "event")


class DeviceRing:
    """`slots` pictures of at most `slot_bytes` bytes in `memory`, a flat uint8 tensor."""

    def __init__(self, memory: torch.Tensor, slots: int, slot_bytes: int) -> None:
        if memory.dtype != torch.uint8 or memory.numel() < slots * slot_bytes:
            raise ValueError(f"{slots} slots of {slot_bytes} bytes need as many uint8, not {memory.numel()} of them")
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._memory = memory

    @classmethod
    def create(cls, slots: int, slot_bytes: int, device: torch.device) -> DeviceRing:
        return cls(torch.zeros(slots * slot_bytes, dtype=torch.uint8, device=device), slots, slot_bytes)

    @property
    def device(self) -> torch.device:
        return self._memory.device

    def picture(self, slot: int, height: int, width: int) -> torch.Tensor:
        """The slot's memory as uint8 [height, width, 3], without a copy."""
        if not 0 <= slot < self.slots or height * width * 3 > self.slot_bytes:
            raise ValueError(f"no room for {height}x{width} in slot {slot} of {self.slots} x {self.slot_bytes} bytes")
        return self._memory[slot * self.slot_bytes :][: height * width * 3].view(height, width, 3)

    def handle(self) -> bytes:
        """What another process on this machine opens the ring by."""
        torch.cuda.current_stream(self.device).synchronize()  # not the device: CUDA graphs may be being captured
        return pack_handle(self._memory.untyped_storage()._share_cuda_(), self.slots, self.slot_bytes)

    @classmethod
    def open(cls, handle: bytes) -> DeviceRing:
        """Another process's ring.

        Raises:
            RuntimeError: this process cannot use the GPU, or not that memory.
            ValueError: `handle` is none.
        """
        shared, slots, slot_bytes = unpack_handle(handle)
        torch.cuda.init()
        with torch.cuda.device(shared[0]):
            storage = torch.UntypedStorage._new_shared_cuda(*shared)
            memory = torch.empty(0, dtype=torch.uint8, device=storage.device)
            memory.set_(storage, 0, (slots * slot_bytes,), (1,))
        # PyTorch counts users in a file that a killed process leaves behind. The owner never frees a ring.
        with contextlib.suppress(OSError):
            (SHARED_MEMORY / shared[4].decode().lstrip("/")).unlink()
        return cls(memory, slots, slot_bytes)


def pack_handle(shared: tuple[Any, ...], slots: int, slot_bytes: int) -> bytes:
    told = dict(zip(FIELDS, shared, strict=True))
    return json.dumps({
        "slots": slots, "slot_bytes": slot_bytes,
        **{name: value.hex() if name in BYTES else value for name, value in told.items()},
    }).encode()  # fmt: skip


def device_of(handle: bytes) -> int:
    """The number of the GPU that the ring is on; errors as `unpack_handle`'s."""
    number: int = unpack_handle(handle)[0][0]
    return number


def unpack_handle(handle: bytes) -> tuple[tuple[Any, ...], int, int]:
    """What `_new_shared_cuda` takes, the number of slots and the bytes of each.

    Raises:
        ValueError: it is no handle.
    """
    try:
        told = json.loads(handle)
        shared = tuple(bytes.fromhex(told[name]) if name in BYTES else told[name] for name in FIELDS)
        return shared, told["slots"], told["slot_bytes"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"not the handle of a ring in GPU memory: {error!r}") from None
