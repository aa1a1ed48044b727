"""The HTTP API of a running service: what the page asks for, and who may."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from tests.e2e.conftest import services
from tests.e2e.real import Running, wait_for

TOKEN, READ_TOKEN = "the-whole-token", "the-read-token"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, street: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("http")
    with services(folder) as start:
        yield start({
            "http": {"port": 0, "token": TOKEN, "read_token": READ_TOKEN},
            "streams": {"street": {"url": str(street), "loop": True, "fps": 5}},
        })  # fmt: skip


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=service.addresses["http"], headers=headers, timeout=20) as client:
        yield client


def test_the_system_tells_how_it_is_doing(client: httpx.Client) -> None:
    def lively() -> dict[str, Any] | None:
        told: dict[str, Any] = client.get("/api/v1/system").json()
        (stream,), (detector,) = told["streams"], told["detectors"]
        known = stream["analysed_fps"], stream["latency_p99_s"], detector["fps"], detector["utilisation"]
        usual = all(known) and stream["analysed_fps"] <= 6 < stream["camera_fps"] <= 15
        return told if usual else None

    told = wait_for("figures of the stream: of about ten frames a second, five are analysed", lively)
    (stream,) = told["streams"]
    assert (stream["id"], stream["state"]) == ("street", "live")
    assert 0 < stream["latency_p50_s"] <= stream["latency_p99_s"]
    assert {"supervisor", "fork server", "worker-0", "detector", "nats"} <= {one["name"] for one in told["processes"]}
    assert all(one["memory_bytes"] > 1 << 20 for one in told["processes"])
    (detector,) = told["detectors"]
    assert detector["ready"] and detector["fps"] > 0 and 0 < detector["utilisation"] <= 1
    assert {"decode", "infer", "track", "publish"} <= {one["stage"] for one in told["stages"]}


def test_a_camera_is_tried_before_it_is_added(client: httpx.Client, street: Path) -> None:
    found = client.post("/api/v1/probe", json={"url": str(street)}).json()
    assert found["ok"], found
    assert (found["codec"], found["width"], found["height"], found["fps"]) == ("h264", 320, 240, 10.0)
    jpeg = base64.b64decode(found["picture"].removeprefix("data:image/jpeg;base64,"))
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)


def test_why_a_camera_cannot_be_read_is_told_without_its_password(client: httpx.Client) -> None:
    answer = client.post("/api/v1/probe", json={"url": "rtsp://viewer:hunter2@127.0.0.1:9/x"})
    told = answer.json()
    assert (told["ok"], told["code"]) == (False, "refused")
    assert told["mend"]
    assert "hunter2" not in answer.text


def test_past_events_come_newest_first_a_page_at_a_time(client: httpx.Client) -> None:
    def several() -> bool:
        return len(client.get("/api/v1/events").json()["events"]) >= 4

    wait_for("four events", several)
    first = client.get("/api/v1/events", params={"limit": 2, "stream": "street"}).json()
    second = client.get("/api/v1/events", params={"limit": 2, "stream": "street", "cursor": first["next"]}).json()
    shown = first["events"] + second["events"]
    assert len({one["event_id"] for one in shown}) == 4
    ended = client.get("/api/v1/events", params={"type": "track.ended", "limit": 500}).json()["events"]
    assert all(one["type"] == "track.ended" for one in ended)


def test_what_happens_is_told_as_it_happens(client: httpx.Client) -> None:
    seen: dict[str, dict[str, Any]] = {}
    with client.stream("GET", "/api/v1/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                seen.setdefault(kind, json.loads(value))
            if {"status", "event", "system"} <= seen.keys():
                break
    assert seen["status"]["stream"] == seen["event"]["stream"] == "street"
    assert seen["system"]["streams"][0]["id"] == "street"


def test_who_listens_hears_of_streams_that_come_and_go(client: httpx.Client) -> None:
    seen: list[str] = []
    with client.stream("GET", "/api/v1/live") as answer:
        for line in answer.iter_lines():
            told = json.loads(line.removeprefix("data: ")) if line.startswith("data: {") else {}
            if not seen and told.get("stream") == "street":
                seen.append("begun")
                assert client.post("/api/v1/streams?keep=false", json={"id": "lobby", "url": "whip://"}).is_success
            elif told.get("stream") == "lobby" and "state" in told and told["state"] != seen[-1]:
                seen.append(told["state"])
                if len(seen) == 2:
                    assert client.delete("/api/v1/streams/lobby?keep=false").is_success
                if seen[-1] == "removed":
                    break
    assert seen[1] == "connecting" and seen[-1] == "removed"


def test_a_browser_logs_in_and_may_then_do_what_its_token_allows(service: Running) -> None:
    with httpx.Client(base_url=service.addresses["http"]) as browser:
        assert browser.get("/api/v1/session").json() == {"token_needed": True, "may": "nothing"}
        assert browser.get("/api/v1/system").status_code == 401
        assert browser.post("/api/v1/session", json={"token": READ_TOKEN}).status_code == 204
        assert browser.get("/api/v1/session").json()["may"] == "read"
        assert browser.get("/api/v1/streams/street/snapshot.jpg").content[:2] == b"\xff\xd8"
        refused = browser.delete("/api/v1/streams/street")
        assert (refused.status_code, refused.json()["code"]) == (403, "http.read_only")
        assert browser.delete("/api/v1/session").status_code == 204
        assert browser.get("/api/v1/system").status_code == 401


def test_a_stream_is_shown_as_motion_jpeg_while_somebody_looks(client: httpx.Client) -> None:
    with client.stream("GET", "/api/v1/streams/street/preview.mjpg?fps=10") as answer:
        assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        seen = b""
        for piece in answer.iter_bytes():
            seen += piece
            if seen.count(b"\xff\xd9\r\n--") >= 3:
                break
    frames = [part.partition(b"\r\n\r\n") for part in seen.split(b"--vigil-picture\r\n")[1:4]]
    numbers = [int(head.decode().partition("Vigil-Seq: ")[2].split()[0]) for head, _, _ in frames]
    assert numbers == sorted(set(numbers)), "each frame once"
    for _, _, jpeg in frames:
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (240, 320, 3)
    wait_for("nobody looks any more", lambda: client.get("/api/v1/system").json()["viewers"]["mjpeg"] == 0)


def test_the_config_is_changed_by_its_text_and_the_stream_goes_on(service: Running, client: httpx.Client) -> None:
    told = client.get("/api/v1/config")
    text = told.json()["text"]
    assert TOKEN not in text
    edited = service.file.read_text().replace("fps: 5", "fps: 4")
    headers = {"Content-Type": "application/yaml", "If-Match": told.headers["etag"]}
    assert client.put("/api/v1/config", content=edited, headers=headers).status_code == 200
    assert client.get("/api/v1/streams/street").json()["settings"]["fps"] == 4
    assert service.file.read_text() == edited
    assert client.put("/api/v1/config", content=edited, headers=headers).json()["code"] == "config.edited"
