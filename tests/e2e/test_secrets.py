"""A camera's password is seen by the camera and by nobody else, whatever happens to the camera or to us."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from tests.e2e.real import Inbox, RtspServer, Running, wait_for

# What makes trouble in a URL, between two parts that must not be seen alone either.
PASSWORD = "s3cr3t@:/#%Pa55"
IN_URL = quote(PASSWORD, safe="")
PARTS = ("s3cr3t", "Pa55", base64.b64encode(f"viewer:{PASSWORD}".encode()).decode())


def leaks(shown: dict[str, str]) -> dict[str, list[str]]:
    """The lines with a part of the password, by where they were shown."""
    found = {where: [line for line in text.splitlines() if any(part in line for part in PARTS)]
             for where, text in shown.items()}  # fmt: skip
    return {where: lines for where, lines in found.items() if lines}


def titles(service: Running) -> Iterator[tuple[str, str]]:
    for process in [psutil.Process(service.process.pid), *psutil.Process(service.process.pid).children(recursive=True)]:
        yield f"title of {process.pid}", " ".join(process.cmdline())


def answers(service: Running) -> dict[str, str]:
    paths = ("/api/v1/streams", "/metrics", "/health/ready", "/openapi.json")
    return {path: service.get(path) for path in paths}


def files_below(folder: Path) -> dict[str, str]:
    return {str(path): path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def camera(rtsp_server: Callable[..., RtspServer]) -> RtspServer:
    return rtsp_server(f"viewer:{PASSWORD}")


def test_a_password_is_shown_nowhere_whatever_happens(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], camera: RtspServer, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text(IN_URL + "\n")
    secret.chmod(0o600)
    own = f"127.0.0.1:{camera.port}/gate"
    streams = {
        "in_url": {"url": f"rtsp://viewer:{IN_URL}@{own}"},
        "in_env": {"url": f"rtsp://viewer:${{CAMERA_PASSWORD}}@{own}"},
        "in_file": {"url": f"rtsp://viewer:${{file:{secret}}}@{own}"},
        "wrong": {"url": f"rtsp://viewer:{IN_URL}-no@{own}"},
        "missing": {"url": f"rtsp://viewer:{IN_URL}@127.0.0.1:{camera.port}/no?user=viewer&password={IN_URL}"},
        "refused": {"url": f"rtsp://viewer:{IN_URL}@127.0.0.1:1/gate"},
        "unknown_host": {"url": f"rtsp://viewer:{IN_URL}@camera.invalid/gate"},
    }
    good = ("in_url", "in_env", "in_file")
    service = run_service(
        {"streams": streams, "log": {"format": "json", "level": "debug"}}, {"CAMERA_PASSWORD": IN_URL}
    )  # fmt: skip
    inbox = subscribe(service)
    wait_for("frames by every way to give a password", lambda: all(len(inbox.of(name)) > 3 for name in good))
    failing = set(streams) - set(good)
    wait_for("the reasons of the others", lambda: all("reason" in service.streams()[name] for name in failing))
    assert service.streams()["wrong"]["reason"] == "auth"
    shown = {**answers(service), **dict(titles(service))}

    sessions = {name: inbox.of(name)[-1]["session"] for name in good}
    next(process for process in service.children()["worker"] if process.num_threads() > len(streams)).kill()
    camera.kill()
    killed = time.monotonic()
    wait_for("the loss is told", lambda: all(any(
        told["stream"] == name and told["state"] == "backoff" and told["_arrived"] > killed for told in inbox.status
    ) for name in good))  # fmt: skip
    camera.start()
    wait_for("frames after the crash", lambda: all(inbox.of(n)[-1]["session"] > sessions[n] for n in good))
    shown |= {f"{path} after the crash": text for path, text in answers(service).items()} | dict(titles(service))
    children = psutil.Process(service.process.pid).children(recursive=True)
    given = {"CAMERA_PASSWORD": IN_URL}.items()
    for child in children:
        shown[f"environment of {child.pid}"] = "\n".join(
            f"{name}={value}" for name, value in child.environ().items() if (name, value) not in given
        )
    assert service.stop() == 0
    shown |= {"messages": "\n".join(raw.decode() for raw in inbox.raw), "log": service.log.read_text()}
    shown |= files_below(service.state)
    assert leaks(shown) == {}
    assert all(name in shown["log"] for name in streams)
