"""The messages between a worker and a detector: a filled slot goes one way, its answer and the slot come back.

They travel over one `SOCK_SEQPACKET` socket pair: a message arrives whole or not at all, and a dead peer is an EOF.
"""

from __future__ import annotations

import select
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_HELLO = struct.Struct("<IQ?")
_FILLED = struct.Struct("<IIHH?fQQ?")
_ANSWER = struct.Struct("<IIBHHQff")
MAX_MESSAGE_BYTES = 65536
STUCK_PEER_S = 1.0
# The detector may be attaching other workers.
GRANT_S = 10.0
_NO_GRANT = b"-"


class Outcome(IntEnum):
    """What became of a slot's frame."""

    ANALYSED = 0
    REPLACED = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Filled:
    """Worker to detector: this slot holds a frame.

    `keep_all`: do not replace it by a newer one; `weight`: the stream's share of the device; `on_device`: the picture
    is in the ring in GPU memory, not in the host's.
    """

    slot: int
    stream: int
    height: int
    width: int
    keep_all: bool
    weight: float
    seq: int
    sent_ns: int
    on_device: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Detector to worker: the slot is yours again, and this was found.

    Attributes:
        rows: float32 [N, 6]: x1, y1, x2, y2 in model-input pixels, score, class id.
        wait_s: from the message being sent to inference starting.
        infer_s: inference and decoding of the batch this frame was in.
    """

    slot: int
    stream: int
    outcome: Outcome
    batch: int
    seq: int
    wait_s: float
    infer_s: float
    rows: NDArray[np.float32]


NO_ROWS = np.zeros((0, 6), np.float32)


def pack_filled(message: Filled) -> bytes:
    return _FILLED.pack(
        message.slot,
        message.stream,
        message.height,
        message.width,
        message.keep_all,
        message.weight,
        message.seq,
        message.sent_ns,
        message.on_device,
    )


def unpack_filled(data: bytes) -> Filled:
    return Filled(*_FILLED.unpack(data))


def pack_answer(answer: Answer) -> bytes:
    head = _ANSWER.pack(
        answer.slot, answer.stream, answer.outcome, answer.batch, len(answer.rows), answer.seq, answer.wait_s,
        answer.infer_s,
    )  # fmt: skip
    return head + np.ascontiguousarray(answer.rows, np.float32).tobytes()


def unpack_answer(data: bytes) -> Answer:
    slot, stream, outcome, batch, count, seq, wait_s, infer_s = _ANSWER.unpack_from(data)
    rows = np.frombuffer(data, np.float32, count * 6, _ANSWER.size).reshape(count, 6)
    return Answer(slot, stream, Outcome(outcome), batch, seq, wait_s, infer_s, rows)


def send_hello(link: socket.socket, ring_fd: int, slots: int, slot_bytes: int, wants_device_ring: bool = False) -> None:
    """A worker's first message: its ring, and whether it could use one like it in GPU memory."""
    socket.send_fds(link, [_HELLO.pack(slots, slot_bytes, wants_device_ring)], [ring_fd])


def receive_hello(link: socket.socket) -> tuple[int, int, int, bool]:
    """The ring's file descriptor, number of slots and bytes per slot, and whether a grant is awaited.

    Raises:
        EOFError: the worker is gone.
        TimeoutError: it has said nothing for `STUCK_PEER_S`.
    """
    link.settimeout(STUCK_PEER_S)
    data, fds, _, _ = socket.recv_fds(link, _HELLO.size, 1)
    link.settimeout(None)
    if not fds:
        raise EOFError("the worker closed the link before its first message")
    slots, slot_bytes, wants_device_ring = _HELLO.unpack(data)
    return fds[0], slots, slot_bytes, wants_device_ring


def send_grant(link: socket.socket, handle: bytes | None) -> None:
    """The detector's answer to a worker that wants a ring in GPU memory: what it is opened by, or None: no."""
    send(link, handle or _NO_GRANT)


def receive_grant(link: socket.socket) -> bytes | None:
    """The detector's answer, awaited for `GRANT_S` at most.

    Raises:
        EOFError: the detector is gone.
        TimeoutError: it has not answered.
    """
    link.settimeout(GRANT_S)
    data = link.recv(MAX_MESSAGE_BYTES)
    link.settimeout(None)
    if not data:
        raise EOFError("the detector closed the link before its first message")
    return None if data == _NO_GRANT else data


def send(link: socket.socket, data: bytes) -> None:
    """Sends a message, waiting at most `STUCK_PEER_S` for a peer that does not read.

    Raises:
        OSError: the peer is gone (BrokenPipeError) or stuck (TimeoutError).
    """
    try:
        link.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except BlockingIOError:
        if not select.select([], [link], [], STUCK_PEER_S)[1]:
            raise TimeoutError("the peer has not read for too long") from None
        link.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
