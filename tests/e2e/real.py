"""The real thing for end-to-end tests: the service as a subprocess, an RTSP server, a NATS subscriber not ours."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import nats.errors
import psutil
import yaml

from publish.schema.wire import UnreadableError, decode
from tests.e2e.contract import wrong_with_message

RTSP_SCRIPT = Path(__file__).resolve().parents[2] / "vigil" / "rtsp_server.py"
# How soon a condition is looked at again at first, and at most: a scrape costs the service as much as ten frames.
FIRST_POLL_S, LAST_POLL_S = 0.02, 0.25
PATIENCE_S = 60.0


def wait_for(
    what: str, condition: Callable[[], Any], timeout_s: float = PATIENCE_S, poll_s: float = FIRST_POLL_S
) -> Any:
    """The condition's first true value; fails with `what` when there is none in time. Looks after `poll_s` first."""
    ends = time.monotonic() + timeout_s
    pause, pause_s = threading.Event(), poll_s
    while not (value := condition()):
        if time.monotonic() > ends:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        pause.wait(pause_s)
        pause_s = max(poll_s, min(1.3 * pause_s, LAST_POLL_S))
    return value


@dataclass
class Inbox:
    """Everything a subscriber received, in order, with the monotonic time of its arrival.

    Attributes:
        wrong: what of it is not as `docs/messages` says; the subscriber fails the test for it at the end.
        settle: returns once all that the NATS server has sent is in here.
    """

    frames: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    status: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    settle: Callable[[], None] = field(default=lambda: None, repr=False)

    def of(self, stream: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["stream"] == stream]


class Subscriber(threading.Thread):
    """Subscribes to everything a site publishes, in a thread with a loop of its own."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self.inbox = Inbox(settle=self._settle)
        self._url = url
        self._prefix = prefix
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Inbox:
        self.start()
        assert self._ready.wait(PATIENCE_S), "the subscriber could not connect"
        return self.inbox

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10)
        assert not self.inbox.wrong, f"{len(self.inbox.wrong)} faults, first: {self.inbox.wrong[:5]}"

    def run(self) -> None:
        self._loop.run_until_complete(self._subscribe())
        self._loop.close()

    def _settle(self) -> None:
        asyncio.run_coroutine_threadsafe(self._take_all(), self._loop).result(PATIENCE_S)

    async def _take_all(self) -> None:
        if self._client.is_connected:  # a server that is gone has sent all that it will
            with contextlib.suppress(nats.errors.Error):
                await self._client.flush(5)
        while self._subscription.pending_msgs:
            await asyncio.sleep(FIRST_POLL_S)

    async def _subscribe(self) -> None:
        client = await nats.connect(self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_ignore)

        async def receive(message: Any) -> None:
            headers = dict(message.headers or {})
            kind = message.subject.removeprefix(self._prefix).split(".")[1]
            if kind == "control":
                return  # what a test asked
            try:
                body = decode(headers.get("content-type"), message.data)
                self.inbox.wrong += wrong_with_message(kind, headers, body)
            except (UnreadableError, KeyError) as error:
                self.inbox.wrong.append(f"{message.subject}: {error!r}")
                raise
            body["_subject"], body["_headers"] = message.subject, headers
            body["_arrived"] = time.monotonic()
            self.inbox.raw.append(message.data)
            {"frames": self.inbox.frames, "events": self.inbox.events, "status": self.inbox.status}[kind].append(body)

        self._client, self._subscription = client, await client.subscribe(f"{self._prefix}.>", cb=receive)
        await client.flush()
        self._ready.set()
        await self._over.wait()
        await client.close()


async def _ignore(error: Exception) -> None:
    del error


class Running:
    """A `vigil run` process and what it shows to the outside."""

    def __init__(self, file: Path, env: dict[str, str]) -> None:
        self.file = file
        self.config = yaml.safe_load(file.read_text())
        self.state = file.parent / "state"
        self.log = file.parent / f"log-{time.monotonic_ns()}.jsonl"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vigil.cli", "run", "-c", str(file)],
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
            )
        self.addresses: dict[str, Any] = {}
        self._tree: dict[int, psutil.Process] = {}

    def wait_started(self, timeout_s: float = 120.0) -> dict[str, Any]:
        addresses = self.state / "addresses.json"

        def started() -> bool:
            assert self.process.poll() is None, f"the service ended:\n{self.log.read_text()}"
            try:
                self.addresses = json.loads(addresses.read_text())
            except (OSError, ValueError):
                return False
            return bool(self.addresses["pid"] == self.process.pid)

        wait_for("the service serves", started, timeout_s)
        return self.addresses

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.addresses["http"] + path, timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def ready(self) -> dict[str, Any]:
        """What `/health/ready` says, whether it is yes or no."""
        try:
            answer: dict[str, Any] = json.loads(self.get("/health/ready"))
        except urllib.error.HTTPError as refusal:
            answer = json.loads(refusal.read())
        return answer

    def streams(self) -> dict[str, dict[str, Any]]:
        return {stream["id"]: stream for stream in json.loads(self.get("/api/v1/streams"))}

    def children(self) -> dict[str, list[psutil.Process]]:
        """Child processes by role; remembered, so that `leftovers` can look for them later."""
        roles: dict[str, list[psutil.Process]] = {
            "worker": [],
            "detector": [],
            "fork server": [],
            "nats": [],
            "bridges": [],
            "preview": [],
        }
        for child in psutil.Process(self.process.pid).children(recursive=True):
            self._tree[child.pid] = child
            try:
                line = " ".join(child.cmdline())
            except psutil.Error:
                continue  # it has just ended
            for role in roles:
                if f"vigil {role}" in line or (role == "nats" and "nats-server" in line):
                    roles[role].append(child)
        return roles

    def leftovers(self) -> list[psutil.Process]:
        """Processes once seen below the service that are still running."""
        return [p for p in self._tree.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def stop(self, timeout_s: float = 15.0) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.children()
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill_all(self) -> None:
        if self.process.poll() is None:
            self.children()
            self.process.kill()
            self.process.wait()
        for process in self.leftovers():
            process.kill()


class RtspServer:
    """GStreamer's RTSP server in a process of its own; killed and started again on its port as a camera reboots."""

    def __init__(
        self, name: str, file: Path, login: str | None = None, options: Sequence[str] = (), then: Sequence[Path] = ()
    ) -> None:
        """Files of `then` are played after the first, in turn; `options` are those of the script; see there."""
        self.name = name
        self.login = login
        self._files = ",".join(map(str, (file, *then)))
        self._options = options
        self.port = 0
        self.start()

    def start(self) -> None:
        login = ["--login", self.login] if self.login else []
        script = ["/usr/bin/python3", str(RTSP_SCRIPT), "--port", str(self.port), *login, *self._options]
        self.process = subprocess.Popen(
            [*script, f"{self.name}={self._files}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = json.loads(self.process.stdout.readline())["port"]

    def url(self, login: str | None = None) -> str:
        scheme = "rtsps" if "--tls" in self._options else "rtsp"
        return f"{scheme}://{login + '@' if login else ''}127.0.0.1:{self.port}/{self.name}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
