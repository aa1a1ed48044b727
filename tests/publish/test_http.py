"""The HTTP side: health for everybody, the rest for who has the token."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter
from pydantic import SecretStr

from publish.config import HttpConfig
from publish.http import create_app
from publish.metrics import MergedMetrics, snapshot

TOKEN = "s3cr3t-tök3n"
BEHIND_THE_TOKEN = ["/metrics", "/api/v1/streams", "/docs", "/openapi.json", "/nowhere"]


class SmallView:
    """A service with one camera."""

    def __init__(self) -> None:
        self.metrics = MergedMetrics()
        self.parts = {"detector": True, "nats": True}

    def ready(self) -> dict[str, bool]:
        return self.parts

    def stream_list(self) -> list[dict[str, Any]]:
        return [{"id": "gate", "state": "live"}]


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
