"""The HTTP side: health for everybody, the rest for who has the token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr

from publish.admin import FieldProblem, RefusedError
from publish.config import HttpConfig
from publish.http import create_app
from publish.metrics import MergedMetrics, snapshot

TOKEN = "s3cr3t-tök3n"
BEHIND_THE_TOKEN = ["/metrics", "/api/v1/streams", "/docs", "/openapi.json", "/nowhere"]


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

    def config_state(self) -> dict[str, Any]:
        return {"revision": "0123abcd", "valid": True, "problems": []}


class SmallView:
    """A service with one camera."""

    def __init__(self) -> None:
        self.metrics = MergedMetrics()
        self.parts = {"detector": True, "nats": True}
        self.cameras = Cameras()

    def ready(self) -> dict[str, bool]:
        return self.parts

    @property
    def changes(self) -> Cameras:
        return self.cameras


@pytest.fixture
def view() -> SmallView:
    return SmallView()


@pytest.fixture
def client(view: SmallView) -> TestClient:
    return TestClient(create_app(view, HttpConfig()))


@pytest.fixture
def guarded(view: SmallView) -> TestClient:
    return TestClient(create_app(view, HttpConfig(token=SecretStr(TOKEN))))


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


@pytest.mark.parametrize("path", ["/health/../metrics", "//metrics", "/health/%2e%2e/metrics", "/Health/live"])
def test_a_path_that_only_looks_like_health_gives_nothing_away(guarded: TestClient, path: str) -> None:
    assert guarded.get(path).status_code in (401, 404)


def test_the_token_opens_the_rest(view: SmallView) -> None:
    client = TestClient(create_app(view, HttpConfig(token=SecretStr("plain-token"))))
    for path in ("/metrics", "/api/v1/streams", "/docs"):
        assert client.get(path, headers=bearer("plain-token")).status_code == 200


def test_without_a_token_all_is_open(client: TestClient) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/api/v1/streams").status_code == 200


def test_not_ready_says_what_is_missing(client: TestClient, view: SmallView) -> None:
    view.parts = {"detector": False, "nats": True}
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "detector": False, "nats": True}
    view.parts = {"detector": True, "nats": True}
    assert client.get("/health/ready").json()["status"] == "ready"


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


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
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
