"""The real thing for end-to-end tests: the service as a subprocess, an RTSP server, a NATS subscriber not ours."""

from __future__ import annotations

import asyncio
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
import psutil
import yaml

RTSP_SCRIPT = Path(__file__).resolve().parents[2] / "vigil" / "rtsp_server.py"
POLL_S = 0.02


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """The condition's first true value; fails with `what` when there is none in time."""
    ends = time.monotonic() + timeout_s
    pause = threading.Event()
    while time.monotonic() < ends:
        if value := condition():
            return value
        pause.wait(POLL_S)
    raise AssertionError(f"not within {timeout_s:g} s: {what}")


@dataclass
class Inbox:
    """Everything a subscriber received, in order, with the monotonic time of its arrival."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    status: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def of(self, stream: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["stream"] == stream]


class Subscriber(threading.Thread):
    """Subscribes to everything a site publishes, in a thread with a loop of its own."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(daemon=True)
        self.inbox = Inbox()
        self._url = url
        self._prefix = prefix
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Inbox:
        self.start()
        assert self._ready.wait(10), "the subscriber could not connect"
        return self.inbox

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10)

    def run(self) -> None:
        self._loop.run_until_complete(self._subscribe())
        self._loop.close()

    async def _subscribe(self) -> None:
        client = await nats.connect(self._url, max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=_ignore)

        async def receive(message: Any) -> None:
            body = json.loads(message.data)
            body["_subject"], body["_headers"] = message.subject, dict(message.headers or {})
            body["_arrived"] = time.monotonic()
            self.inbox.raw.append(message.data)
            kind = message.subject.removeprefix(self._prefix).split(".")[1]
            {"frames": self.inbox.frames, "events": self.inbox.events, "status": self.inbox.status}[kind].append(body)

        await client.subscribe(f"{self._prefix}.>", cb=receive)
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

    def wait_started(self, timeout_s: float = 60.0) -> dict[str, Any]:
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
        roles: dict[str, list[psutil.Process]] = {"worker": [], "detector": [], "nats": []}
        for child in psutil.Process(self.process.pid).children(recursive=True):
            self._tree[child.pid] = child
            try:
                line = " ".join(child.cmdline())
            except psutil.Error:
                continue  # it has just ended
            for role, mark in (("worker", "vigil.worker"), ("detector", "vigil.detector"), ("nats", "nats-server")):
                if mark in line:
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
