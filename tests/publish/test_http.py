"""The HTTP side: health for everybody, the rest for who has the token."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr
from starlette.testclient import TestClient

from ingest.errors import VigilError
from publish.access.safety import MOST_BODY_BYTES
from publish.admin import FieldProblem, RefusedError
from publish.config import HttpConfig
from publish.http import create_app
from publish.media.still import MOST_BYTES, Still
from publish.metrics import MergedMetrics, snapshot
from tests.publish.local import local_client
from vigil import logging

TOKEN = "s3cr3t-tök3n"
BEHIND_THE_TOKEN = [
    "/metrics", "/api/v1/streams", "/api/v1/bridges", "/docs", "/openapi.json", "/nowhere",
    "/api/v1/media/gate/2026-11-21/a.jpg", "/api/v1/streams/gate/snapshot.jpg",
]  # fmt: skip


class Cameras:
    """A `StreamAdmin` over a dict."""

    def __init__(self) -> None:
        self.settings: dict[str, dict[str, Any]] = {"gate": {"url": "rtsp://cam/1"}}
        self.kept: list[bool] = []

    def streams(self) -> list[dict[str, Any]]:
        return [{"id": name, "state": "live"} for name in self.settings]

    def stream(self, name: str) -> dict[str, Any]:
        if name not in self.settings:
            raise RefusedError("streams.unknown", f"there is no stream {name!r}")
        return {"id": name, "state": "live", "settings": self.settings[name]}

    async def add(self, stream: str, settings: Mapping[str, Any], keep: bool) -> None:
        if stream in self.settings:
            raise RefusedError("streams.exists", "there is one already")
        if "url" not in settings:
            problem = FieldProblem("config.missing", f"streams.{stream}.url", None, "is required", "add `url:`")
            raise RefusedError("config.invalid", "url: is required", [problem])
        self.settings[stream] = dict(settings)
        self.kept.append(keep)

    async def change(self, stream: str, changes: Mapping[str, Any], keep: bool) -> None:
        self.stream(stream)
        self.settings[stream] |= changes
        self.kept.append(keep)

    async def remove(self, stream: str, keep: bool) -> None:
        self.stream(stream)
        del self.settings[stream]
        self.kept.append(keep)

    async def pause(self, stream: str, paused: bool, keep: bool) -> None:
        self.stream(stream)
        self.settings[stream]["paused"] = paused
        self.kept.append(keep)

    def config_state(self) -> dict[str, Any]:
        return {"revision": "0123abcd", "valid": True, "problems": []}


class NotReadingError(VigilError):
    code = "stream.not_reading"


class SmallView:
    """A service with one camera."""

    def __init__(self) -> None:
        self.heat: list[list[float]] | None = [[0.0, 1.0, 4.0], [0.0, 0.0, 0.25]]
        self.metrics = MergedMetrics()
        self.parts = {"detector": True, "nats": True}
        self.cameras = Cameras()
        self.bridges: list[dict[str, Any]] = []

    def ready(self) -> dict[str, bool]:
        return self.parts

    def whip_token(self, stream: str) -> SecretStr | None:
        raise KeyError(stream)

    def nats_state(self) -> dict[str, Any]:
        return {"state": "troubled", "troubles": [{"code": "nats.permission", "message": "may not publish to x.y"}]}

    def bridge_list(self) -> list[dict[str, Any]]:
        return self.bridges

    async def ask(self, stream: str, question: str, **data: Any) -> dict[str, Any]:
        assert (stream, question, data) == ("gate", "heatmap", {})
        if self.heat is None:
            raise NotReadingError("stream 'gate' is not read yet")
        return {"half_life_s": 60.0, "over_s": 12.5, "seconds": self.heat}

    async def still(
        self, stream: str, boxes: bool, max_side: int, max_bytes: int, had: tuple[int, int] | None = None
    ) -> Still:
        if self.heat is None:
            raise NotReadingError("stream 'gate' is not read yet")
        assert (stream, max_bytes) == ("gate", MOST_BYTES)
        return Still(f"{max_side}".encode(), 7, 42, datetime(2026, 11, 21, tzinfo=UTC), 41 if boxes else None)

    @property
    def changes(self) -> Cameras:
        return self.cameras


@pytest.fixture
def view() -> SmallView:
    return SmallView()


@pytest.fixture
def client(view: SmallView) -> TestClient:
    return local_client(create_app(view, HttpConfig()))


@pytest.fixture
def guarded(view: SmallView) -> TestClient:
    return local_client(create_app(view, HttpConfig(token=SecretStr(TOKEN))))


def bearer(token: str) -> dict[str, bytes]:
    return {"Authorization": f"Bearer {token}".encode("latin-1")}


def test_health_needs_no_token(guarded: TestClient) -> None:
    assert guarded.get("/health/live").json() == {"status": "live"}
    assert guarded.get("/health/ready").status_code == 200


@pytest.mark.parametrize("path", BEHIND_THE_TOKEN)
def test_everything_else_needs_it(guarded: TestClient, path: str) -> None:
    answer = guarded.get(path)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401
    assert answer.json()["code"] == "http.unauthorized"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("token", ["", "wrong", "s3cr3t", TOKEN + "x", TOKEN.upper()])
def test_a_wrong_token_is_refused(guarded: TestClient, token: str) -> None:
    assert guarded.get("/metrics", headers=bearer(token)).status_code == 401


@pytest.mark.parametrize("path", ["/health/../metrics", "/%2Fmetrics", "/health/%2e%2e/metrics", "/Health/live"])
def test_a_path_that_only_looks_like_health_gives_nothing_away(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code in (401, 404)


def test_the_token_opens_the_rest(view: SmallView) -> None:
    client = local_client(create_app(view, HttpConfig(token=SecretStr("plain-token"))))
    for path in ("/metrics", "/api/v1/streams", "/docs"):
        assert client.get(path, headers=bearer("plain-token")).status_code == 200


def test_without_a_token_all_is_open(client: TestClient) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/v1/streams").status_code == 200


def test_not_ready_says_what_is_missing(client: TestClient, view: SmallView) -> None:
    view.parts = {"detector": False, "nats": True}
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    nats = {"state": "troubled", "troubles": ["nats.permission"]}
    assert answer.json() == {"status": "not ready", "detector": False, "nats": True, "nats_state": nats}
    view.parts = {"detector": True, "nats": True}
    assert client.get("/health/ready").json()["status"] == "ready"


def test_a_bridge_whose_peer_is_away_is_told_of_and_makes_nobody_less_ready(
    client: TestClient, view: SmallView
) -> None:
    assert client.get("/api/v1/bridges").json() == []
    view.bridges = [{"name": "door", "kind": "webhook", "state": "retrying", "code": "webhook.unreachable"}]
    assert client.get("/api/v1/bridges").json() == view.bridges
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["bridges"]) == (200, {"door": "retrying"})


def test_metrics_are_those_of_all_processes(client: TestClient, view: SmallView) -> None:
    for name in ("worker-0", "worker-1"):
        registry = CollectorRegistry()
        Counter("vigil_frames", "Frames.", ["stream"], registry=registry).labels("gate").inc(3)
        view.metrics.update(name, snapshot(registry))
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'vigil_frames_total{stream="gate"} 6.0' in answer.text


def test_metrics_before_any_process_reported_are_empty(client: TestClient) -> None:
    assert client.get("/metrics").status_code == 200


def test_streams_are_listed(client: TestClient) -> None:
    assert client.get("/api/v1/streams").json() == [{"id": "gate", "state": "live"}]


def test_it_listens_on_loopback_unless_told_otherwise() -> None:
    assert HttpConfig().host == "127.0.0.1"


def test_the_token_does_not_show_in_the_config() -> None:
    config = HttpConfig(token=SecretStr(TOKEN))
    assert TOKEN not in repr(config)
    assert TOKEN not in config.model_dump_json()


def test_a_stream_is_added_changed_and_removed(client: TestClient, view: SmallView) -> None:
    added = client.post("/api/v1/streams", json={"id": "yard", "url": "rtsp://cam/2", "fps": 5})
    assert (added.status_code, added.headers["location"]) == (201, "/api/v1/streams/yard")
    assert view.cameras.settings["yard"] == {"url": "rtsp://cam/2", "fps": 5}
    assert client.patch("/api/v1/streams/yard?keep=false", json={"fps": 2}).json()["settings"]["fps"] == 2
    assert client.delete("/api/v1/streams/yard").status_code == 204
    assert list(view.cameras.settings) == ["gate"]
    assert view.cameras.kept == [True, False, True]


def test_a_stream_is_paused_and_taken_up_again(client: TestClient, view: SmallView) -> None:
    assert client.post("/api/v1/streams/gate/pause").json()["settings"]["paused"] is True
    assert client.post("/api/v1/streams/gate/resume?keep=false").json()["settings"]["paused"] is False
    assert view.cameras.kept == [True, False]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/api/v1/streams/nobody/pause", None, 404, "streams.unknown"),
        ("GET", "/api/v1/streams/nobody", None, 404, "streams.unknown"),
        ("PATCH", "/api/v1/streams/nobody", {"fps": 2}, 404, "streams.unknown"),
        ("DELETE", "/api/v1/streams/nobody", None, 404, "streams.unknown"),
        ("POST", "/api/v1/streams", {"id": "gate", "url": "rtsp://x/y"}, 409, "streams.exists"),
        ("POST", "/api/v1/streams", {"id": "yard"}, 422, "config.invalid"),
        ("POST", "/api/v1/streams", {"url": "rtsp://x/y"}, 422, "http.invalid"),
    ],
)
def test_a_refusal_is_a_problem_with_a_code(
    client: TestClient, method: str, path: str, body: dict[str, Any] | None, status: int, code: str
) -> None:
    answer = client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_refusal_names_the_fields(client: TestClient) -> None:
    (problem,) = client.post("/api/v1/streams", json={"id": "yard"}).json()["problems"]
    assert (problem["path"], problem["mend"]) == ("streams.yard.url", "add `url:`")


def test_a_heat_map_is_rows_of_seconds(client: TestClient) -> None:
    answer = client.get("/api/v1/streams/gate/heatmap").json()
    assert answer == {
        "stream": "gate", "half_life_s": 60.0, "over_s": 12.5, "seconds": [[0.0, 1.0, 4.0], [0.0, 0.0, 0.25]]
    }  # fmt: skip


def test_or_a_picture_of_them_that_is_red_where_most_were_and_see_through_where_nobody_was(client: TestClient) -> None:
    answer = client.get("/api/v1/streams/gate/heatmap?format=png")
    assert answer.headers["content-type"] == "image/png"
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (20, 30, 4)
    cells = picture[5::10, 5::10]
    assert cells[..., 3].tolist() == [[0, cells[0, 1, 3], 220], [0, 0, cells[1, 2, 3]]]
    assert 0 < cells[1, 2, 3] < cells[0, 1, 3] == 160, "half of the way, at a quarter of the time"
    blue, green, red = cells[0, 2, :3].tolist()
    assert red > 200 > 100 > max(blue, green)


def test_nothing_yet_is_an_empty_heat_map(client: TestClient, view: SmallView) -> None:
    for view.heat in ([], [[0.0, 0.0]]):
        picture = client.get("/api/v1/streams/gate/heatmap?format=png").content
        assert not cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3].any()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nobody/heatmap", 404, "streams.unknown"), ("gate/heatmap?format=gif", 422, "http.invalid"),
        ("gate/heatmap", 503, "stream.not_reading"),
    ],
)  # fmt: skip
def test_where_there_is_no_heat_map_the_answer_says_why(
    client: TestClient, view: SmallView, path: str, status: int, code: str
) -> None:
    view.heat = None
    answer = client.get(f"/api/v1/streams/{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_streams_newest_picture_says_what_it_is(client: TestClient) -> None:
    answer = client.get("/api/v1/streams/gate/snapshot.jpg")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"1920", "image/jpeg")
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.headers["vigil-session"], answer.headers["vigil-seq"]) == ("7", "42")
    assert "vigil-boxes-seq" not in answer.headers
    boxed = client.get("/api/v1/streams/gate/snapshot.jpg?boxes=1&max_side=640")
    assert (boxed.content, boxed.headers["vigil-boxes-seq"]) == (b"640", "41")


def test_a_picture_that_cannot_be_had_says_why(client: TestClient, view: SmallView) -> None:
    assert client.get("/api/v1/streams/nowhere/snapshot.jpg").json()["code"] == "streams.unknown"
    assert client.get("/api/v1/streams/gate/snapshot.jpg?max_side=3").json()["code"] == "http.invalid"
    view.heat = None
    refused = client.get("/api/v1/streams/gate/snapshot.jpg")
    assert (refused.status_code, refused.json()["code"]) == (503, "stream.not_reading")
    assert refused.headers["retry-after"]


# -- what every answer has


def test_answers_tell_browsers_to_be_careful(client: TestClient) -> None:
    for path in ("/api/v1/streams", "/nowhere", "/api/v1/streams/gate/snapshot.jpg"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "strict-transport-security" not in headers, "that would lock out who has no TLS"
    secured = local_client(create_app(SmallView(), HttpConfig()), url="https://127.0.0.1")
    assert "max-age" in secured.get("/health/live").headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "http.not_found"),
        ("DELETE", "/health/live", {}, 405, "http.method_not_allowed"),
        ("PATCH", "/api/v1/streams/gate", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 422,
         "http.invalid"),
        ("POST", "/api/v1/session", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415,
         "http.media_type"),
        ("POST", "/api/v1/streams", {"content": b"x" * (MOST_BODY_BYTES + 1)}, 413, "http.too_large"),
        ("POST", "/api/v1/streams", {"content": iter([b"x" * 65536] * 17)}, 413, "http.too_large"),
    ],
)  # fmt: skip
def test_whatever_is_wrong_is_told_alike(
    client: TestClient, method: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    answer = client.request(method, path, **options)
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_route_that_fails_tells_a_number_that_the_log_has_and_nothing_else(
    client: TestClient, view: SmallView, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> dict[str, Any]:
        raise RuntimeError("rtsp://viewer:hunter2@10.0.0.1/x broke it")

    view.nats_state = fail  # type: ignore[method-assign]
    logging.configure("info", "json", sys.stdout)
    try:
        answer = client.get("/api/v1/nats")
    finally:
        structlog.reset_defaults()
    assert (answer.status_code, answer.json()["code"]) == (500, "http.failed")
    assert "hunter2" not in answer.text and "RuntimeError" not in answer.text
    (line,) = [line for line in capsys.readouterr().out.splitlines() if answer.json()["id"] in line]
    assert "RuntimeError" in line and "hunter2" not in line


def test_the_reference_tells_every_route_and_needs_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert "<script" not in answer.text and "http" not in answer.text.replace("http.", "").replace("/http", "")
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in answer.text
