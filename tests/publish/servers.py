"""A real nats-server for tests, with any configuration, that can be stopped, started again and told to read it anew."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from vigil.nats_server import find_binary

POLL_S = 0.01


class Server:
    """Listens on a loopback port of its own, the same one after a restart; JetStream's files are in its folder."""

    def __init__(self, folder: Path, config: str = "", jetstream: bool = True) -> None:
        self.folder = folder
        self.log = folder / "server.log"
        self._jetstream = jetstream
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.configure(config)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def configure(self, config: str) -> None:
        jetstream = f'jetstream {{store_dir: "{self.folder}/jetstream"}}\n' if self._jetstream else ""
        (self.folder / "nats.conf").write_text(f'listen: "127.0.0.1:{self.port}"\n{jetstream}{config}\n')

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [find_binary(), "-c", str(self.folder / "nats.conf")], stdout=output, stderr=output
            )
        ends = time.monotonic() + 10
        pause = threading.Event()
        while not self._accepts():
            assert self._process.poll() is None and time.monotonic() < ends, self.log.read_text()
            pause.wait(POLL_S)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def reload(self, config: str) -> None:
        """Has it read another configuration while it runs."""
        assert self._process is not None
        self.configure(config)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def serving(folder: Path, config: str = "", jetstream: bool = True) -> Iterator[Server]:
    server = Server(folder, config, jetstream)
    server.start()
    try:
        yield server
    finally:
        server.stop()
