"""Servers for tests, on free loopback ports: HTTP with answers that never end, and sockets that never answer."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def http_server(answers: dict[str, Answer], certificate: Path | None = None) -> Iterator[str]:
    """Answers paths; yields the address. With a PEM file of certificate and key it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.split("?")[0])
            if answer is None:
                self.send_error(404)
                return
            with suppress(OSError):  # the client has left
                answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def body(data: bytes, kind: str) -> Answer:
    """The whole of it at once."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


def endless(parts: Callable[[], Iterator[bytes]], kind: str, stop: threading.Event, every_s: float) -> Answer:
    """One part after the other, until told to stop; after the last one silence."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.end_headers()
        for part in parts():
            request.wfile.write(part)
            if stop.wait(every_s):
                return
        stop.wait()

    return answer


def motion_jpeg(pictures: list[bytes]) -> Callable[[], Iterator[bytes]]:
    """As parts of a multipart/x-mixed-replace answer with the boundary `frame`, for ever."""

    def parts() -> Iterator[bytes]:
        while True:
            for picture in pictures:
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                yield head.encode() + picture + b"\r\n"

    return parts


def chunks(data: bytes, size: int) -> Callable[[], Iterator[bytes]]:
    return lambda: (data[start : start + size] for start in range(0, len(data), size))


@contextmanager
def listener(accepts: bool) -> Iterator[int]:
    """A port behind which nobody says a word; without `accepts` not even the connection is answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=8 if accepts else 0) as server:
        port = server.getsockname()[1]
        waiting = []
        if not accepts:  # the kernel leaves further ones unanswered when the queue is full
            for _ in range(4):
                waiting.append(plug := socket.socket())
                plug.setblocking(False)
                plug.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for plug in waiting:
                plug.close()
