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

from inference.found import Found, Rows, Spans

_HELLO = struct.Struct("<IQ?")
_FILLED = struct.Struct("<IIHH?fQQ??")
_ANSWER = struct.Struct("<IIBHHQfff")
# Follows the rows where objects have more than a box: of how many, keypoints of each, whether corners, spans of masks,
# length of features.
_DETAILS = struct.Struct("<HHHiH")
# At most 1000 boxes (`detector.max_detections`) take 24,033 bytes.
MAX_DETAIL_BYTES = 96 * 1024
FILLED_BYTES = _FILLED.size
MAX_MESSAGE_BYTES = 120 * 1024
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
    is in the ring in GPU memory, not in the host's; `wants_features`: tell what each object looks like.
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
    wants_features: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Detector to worker: the slot is yours again, and this was found.

    Attributes:
        found: what is in the picture, in model-input pixels; its details take `MAX_DETAIL_BYTES` at most.
        wait_s: from the message being sent to inference starting.
        infer_s: inference of the batch this frame was in.
        post_s: reading the boxes from its output.
    """

    slot: int
    stream: int
    outcome: Outcome
    batch: int
    seq: int
    wait_s: float
    infer_s: float
    found: Found
    post_s: float = 0.0


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
        message.wants_features,
    )


def unpack_filled(data: bytes) -> Filled:
    return Filled(*_FILLED.unpack(data))


def pack_answer(answer: Answer) -> bytes:
    head = _ANSWER.pack(
        answer.slot, answer.stream, answer.outcome, answer.batch, len(answer.found.rows), answer.seq, answer.wait_s,
        answer.infer_s, answer.post_s,
    )  # fmt: skip
    rows = np.ascontiguousarray(answer.found.rows, np.float32).tobytes()
    return head + rows if answer.found.is_plain else head + rows + _pack_details(answer.found)


def unpack_answer(data: bytes) -> Answer:
    slot, stream, outcome, batch, count, seq, wait_s, infer_s, post_s = _ANSWER.unpack_from(data)
    rows = np.frombuffer(data, np.float32, count * 6, _ANSWER.size).reshape(count, 6)
    end = _ANSWER.size + rows.nbytes
    found = Found(rows) if end == len(data) else _unpack_details(rows, data, end)
    return Answer(slot, stream, Outcome(outcome), batch, seq, wait_s, infer_s, found, post_s)


def _pack_details(found: Found) -> bytes:
    keypoints, corners, masks, features = found.keypoints, found.corners, found.masks, found.features
    points = 0 if keypoints is None else keypoints.shape[1]
    spans = -1 if masks is None else len(masks.spans)
    length = 0 if features is None else features.shape[1]
    parts = [_DETAILS.pack(found.detailed, points, corners is not None, spans, length)]
    if keypoints is not None:
        parts.append(np.ascontiguousarray(keypoints, np.float32).tobytes())
    if corners is not None:
        parts.append(np.ascontiguousarray(corners, np.float32).tobytes())
    if masks is not None:
        parts += [np.ascontiguousarray(masks.ends, np.int32).tobytes(), np.ascontiguousarray(masks.spans).tobytes()]
    if features is not None:
        parts.append(np.ascontiguousarray(features, np.float16).tobytes())
    return b"".join(parts)


def _unpack_details(rows: Rows, data: bytes, offset: int) -> Found:
    count, points, has_corners, spans, length = _DETAILS.unpack_from(data, offset)
    offset += _DETAILS.size
    keypoints = corners = masks = features = None
    if points:
        keypoints = np.frombuffer(data, np.float32, count * points * 3, offset).reshape(count, points, 3)
        offset += keypoints.nbytes
    if has_corners:
        corners = np.frombuffer(data, np.float32, count * 8, offset).reshape(count, 4, 2)
        offset += corners.nbytes
    if spans >= 0:
        ends = np.frombuffer(data, np.int32, count, offset)
        masks = Spans(np.frombuffer(data, np.uint16, spans * 3, offset + ends.nbytes).reshape(spans, 3), ends)
        offset += ends.nbytes + masks.spans.nbytes
    if length:
        features = np.frombuffer(data, np.float16, count * length, offset).reshape(count, length)
    return Found(rows, keypoints, corners, masks, features)


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
