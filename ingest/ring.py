"""The frame ring: shared memory of a fixed number of slots, each owned by exactly one side at a time.

The worker owns the memory and the free slots. It writes a frame into a free slot and hands the slot over by a message;
it gets the slot back with the answer. Nobody locks, and no torn read is possible. The memory is anonymous (memfd): it
has no name to collide with, and the kernel frees it when the last process that holds it is gone, killed or not.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue

import numpy as np
from numpy.typing import NDArray


class Ring:
    """`slots` pictures of at most `slot_bytes` bytes, visible to every process that has `fd`."""

    def __init__(self, fd: int, slots: int, slot_bytes: int) -> None:
        self.fd = fd
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._memory = mmap.mmap(fd, slots * slot_bytes)

    @classmethod
    def create(cls, slots: int, slot_bytes: int) -> Ring:
        fd = os.memfd_create("vigil-ring", os.MFD_CLOEXEC)
        os.ftruncate(fd, slots * slot_bytes)
        return cls(fd, slots, slot_bytes)

    def picture(self, slot: int, height: int, width: int) -> NDArray[np.uint8]:
        """The slot's memory as uint8 [height, width, 3], without a copy."""
        if not 0 <= slot < self.slots or height * width * 3 > self.slot_bytes:
            raise ValueError(f"no room for {height}x{width} in slot {slot} of {self.slots} x {self.slot_bytes} bytes")
        view = np.frombuffer(self._memory, np.uint8, height * width * 3, slot * self.slot_bytes)
        return view.reshape(height, width, 3)

    def close(self) -> None:
        """Gives up this process's hold on the memory, now or when the last picture of it is gone."""
        os.close(self.fd)
        # While a picture still points into it, the mapping stays, and goes with the picture.
        with contextlib.suppress(BufferError):
            self._memory.close()


class FreeSlots:
    """The free slots of one stream: its reader takes them, the answers give them back."""

    def __init__(self, slots: range) -> None:
        self.capacity = len(slots)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def take(self, wait_s: float = 0.0) -> int | None:
        """A free slot, waiting for one at most `wait_s`; None when there is none."""
        try:
            return self._free.get(timeout=wait_s) if wait_s else self._free.get_nowait()
        except queue.Empty:
            return None

    def give_back(self, slot: int) -> None:
        self._free.put(slot)
