"""A worker's link to the detector: the ring both see, and the socket that slots and answers travel on."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import structlog

from inference import channel
from inference.channel import Answer, Filled
from inference.model import ModelInfo
from ingest.ring import Ring
from ingest.sources.nvdec import hold_gpu

if TYPE_CHECKING:
    from ingest.device_ring import DeviceRing
    from vigil.reader import Departed, Ledger

log = structlog.get_logger()


class DetectorLink:
    """Lives as long as the detector process at its other end; a restarted detector gets a new one."""

    def __init__(self, link: socket.socket, ring: Ring, model: ModelInfo) -> None:
        self.socket = link
        self.ring = ring
        self.model = model
        self._lock = threading.Lock()
        self._open = True
        self.device_ring: DeviceRing | None = None
        # Whether the detector will say if there is one; `open_device_ring` then waits for it.
        self.awaits_device = model.device.startswith("cuda")
        channel.send_hello(link, ring.fd, ring.slots, ring.slot_bytes, self.awaits_device)

    @property
    def gpu(self) -> int | None:
        """The number of the GPU that wants the frames, if one does."""
        return self.device_ring.device.index if self.device_ring else None

    def open_device_ring(self) -> None:
        """Takes the ring in GPU memory that the detector grants, if any; CUDA starts in this process for it.

        Takes seconds the first time. Without a ring frames come through the host's memory as on a CPU.

        Raises:
            EOFError, OSError: the detector is gone.
        """
        handle = channel.receive_grant(self.socket)
        if handle is None:
            return
        try:
            from inference import preprocess_cuda
            from ingest.device_ring import DeviceRing, device_of

            if (reason := hold_gpu(device_of(handle))) is not None:
                log.warning("this worker decodes on the CPU", reason=reason)
            ring = DeviceRing.open(handle)
            preprocess_cuda.prepare(ring.device)
        except (ImportError, RuntimeError, ValueError) as error:
            log.warning("frames go through the host's memory: this worker cannot use the GPU", error=str(error))
            return
        self.device_ring = ring

    def submit(
        self, stream: int, ledger: Ledger, departed: Departed, keep_all: bool, weight: float,
        wants_features: bool = False,
    ) -> bool:  # fmt: skip
        """Hands a filled slot of the worker's stream number `stream` to the detector.

        False when that could not be done, and then nothing is recorded. Called by the readers. The lock makes closing
        wait, so that no frame departs over a link that was given up.
        """
        box = departed.letterbox
        with self._lock:
            if not self._open:
                return False
            ticket = ledger.depart(departed)
            sent_ns = time.monotonic_ns()
            if departed.trace is not None:
                departed.trace.sent_ns = sent_ns
            message = Filled(
                departed.slot, stream, box.height, box.width, keep_all, weight, ticket, sent_ns,
                departed.on_device, wants_features,
            )  # fmt: skip
            try:
                # Never waits: the slots in flight are fewer than the messages a socket holds.
                self.socket.send(channel.pack_filled(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                ledger.withdraw(ticket)
                return False
            return True

    def answer(self) -> Answer | None:
        """The next answer; None when none has arrived.

        Raises:
            EOFError: the detector is gone.
        """
        try:
            data = self.socket.recv(channel.MAX_MESSAGE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            raise EOFError("the detector is gone")
        return channel.unpack_answer(data)

    def close(self) -> None:
        with self._lock:
            self._open = False
        self.socket.close()
