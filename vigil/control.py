"""Messages between the supervisor and its children: MessagePack, and file descriptors with it, over a socket pair."""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ormsgpack

MAX_MESSAGE_BYTES = 1 << 18
MAX_FDS = 4
FD_BYTES = array.array("i").itemsize


@dataclass(frozen=True, slots=True)
class Order:
    """One message: its kind, its data, and the file descriptors that came with it (the receiver owns them)."""

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    fds: list[int] = field(default_factory=list)


class Control:
    """One end. A dead peer shows up as an EOFError."""

    def __init__(self, link: socket.socket) -> None:
        self.link = link

    @classmethod
    def pair(cls) -> tuple[Control, socket.socket]:
        """This process's end, and the other end to hand to a child."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    @classmethod
    def inherited(cls, fd: int) -> Control:
        """A child's end, from the descriptor it was started with."""
        return cls(socket.socket(fileno=fd))

    def send(self, kind: str, fds: Sequence[int] = (), **data: Any) -> None:
        """Raises OSError when the peer is gone."""
        socket.send_fds(self.link, [_packed({"kind": kind, **data})], list(fds))

    def receive(self, wait: bool = True) -> Order | None:
        """The next message; None when there is none and `wait` is off.

        Raises:
            EOFError: the peer is gone.
        """
        try:
            # Not socket.recv_fds: in Python 3.11 it does not pass its flags on.
            data, ancillary, _, _ = self.link.recvmsg(
                MAX_MESSAGE_BYTES,
                socket.CMSG_LEN(MAX_FDS * FD_BYTES),
                socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT),
            )
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError(str(error)) from None
        if not data:
            raise EOFError("the other side is gone")
        fds = array.array("i")
        for _, _, packed in ancillary:
            fds.frombytes(packed[: len(packed) - len(packed) % FD_BYTES])
        message = ormsgpack.unpackb(data)
        return Order(message.pop("kind"), message, list(fds))

    def heed(self, obey: Callable[[Order], None]) -> None:
        """A child's part: obeys what has come. Ends this process when the supervisor is gone: nobody will ask for
        anything again."""
        try:
            while order := self.receive(wait=False):
                obey(order)
        except EOFError:
            os._exit(1)

    def close(self) -> None:
        self.link.close()


def _packed(message: dict[str, Any]) -> bytes:
    try:
        return ormsgpack.packb(message)
    except TypeError:  # halves of characters, as an error may have that tells of a file whose name is no text
        text = json.dumps(message, ensure_ascii=False).encode(errors="replace")
        return ormsgpack.packb(json.loads(text))
