"""What systemd is told when it runs us: that we serve, that we are alive, that we stop (sd_notify(3)).

A datagram of lines to the socket that NOTIFY_SOCKET names; without one, there is nobody to tell.
"""

from __future__ import annotations

import os
import socket

import structlog

log = structlog.get_logger()

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def tell(*lines: str) -> None:
    """Never waits: the supervisor's loop calls it. A word that is lost shows in systemd's log, and in ours."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket begins with a zero byte
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sending:
            sending.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        log.warning("cannot tell systemd how we are", told=lines[0], error=str(error))
