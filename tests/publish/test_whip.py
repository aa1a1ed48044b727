"""WHIP over HTTP as RFC 9725 has it: who may publish, what is taken, what is refused and how."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from publish.config import HttpConfig
from publish.http import create_app
from publish.metrics import MergedMetrics
from publish.signalling import MAX_SDP_BYTES
from tests.publish.local import local_client

STREAM_TOKEN, HTTP_TOKEN, TURN_PASSWORD = "stage-s3cret", "house-s3cret", 'turn "s3cret"'
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class ProblemError(VigilError):
    def __init__(self, code: str) -> None:
        super().__init__(f"because of {code}")
        self.code = code


class Stage:
    """A service with the streams `stage` (with a token), `open` (without) and `gate` (no publishers)."""

    def __init__(self) -> None:
        self.metrics = MergedMetrics()
        self.changes = None
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.refusal: str | None = None
        self.config = WebRtcConfig()

    def ready(self) -> dict[str, bool]:
        return {}

    def whip_token(self, stream: str) -> SecretStr | None:
        return {"stage": SecretStr(STREAM_TOKEN), "open": None}[stream]

    def webrtc(self) -> WebRtcConfig:
        return self.config

    async def ask(self, stream: str, question: str, **data: Any) -> dict[str, Any]:
        self.asked.append((stream, question, data))
        if self.refusal:
            raise ProblemError(self.refusal)
        return {"sdp": "v=0 the answer"} if question == "whip.offer" else {}


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def client(stage: Stage) -> TestClient:
    return local_client(create_app(stage, HttpConfig()))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_an_offer_is_answered_with_a_session_of_its_own(client: TestClient, stage: Stage) -> None:
    answers = [client.post("/whip/open", content="v=0 the offer", headers=SDP) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "application/sdp"
        assert answer.text == "v=0 the answer"
        assert answer.headers["etag"].startswith('"')
        assert answer.headers["location"].startswith("/whip/open/")
    assert len({answer.headers["location"] for answer in answers}) == 2
    stream, question, data = stage.asked[0]
    assert (stream, question, data["sdp"]) == ("open", "whip.offer", "v=0 the offer")
    assert answers[0].headers["location"] == f"/whip/open/{data['session']}"


@pytest.mark.parametrize("token", [STREAM_TOKEN, HTTP_TOKEN])
def test_the_streams_token_and_the_services_own_open_it(stage: Stage, token: str) -> None:
    guarded = local_client(create_app(stage, HttpConfig(token=SecretStr(HTTP_TOKEN))))
    assert guarded.post("/whip/stage", content="v=0", headers=SDP | bearer(token)).status_code == 201
    assert guarded.delete("/whip/stage/s1", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("token", [None, "", "wrong", STREAM_TOKEN + "x", "stäge"])
def test_without_the_right_token_nothing_is_asked(
    client: TestClient, stage: Stage, method: str, token: str | None
) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode("latin-1")}
    path = "/whip/stage" if method == "POST" else "/whip/stage/s1"
    answer = client.request(method, path, content="v=0", headers={**SDP, **headers})  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "whip.unauthorized"
    assert STREAM_TOKEN not in answer.text
    assert not stage.asked


def test_a_streams_token_opens_neither_other_streams_nor_the_rest(stage: Stage) -> None:
    guarded = local_client(create_app(stage, HttpConfig(token=SecretStr(HTTP_TOKEN))))
    for path in ("/whip/open", "/whip/nowhere"):
        assert guarded.post(path, content="v=0", headers=SDP | bearer(STREAM_TOKEN)).status_code == 401
    for path in ("/metrics", "/api/v1/streams", "/whipx", "/whip"):
        assert guarded.get(path, headers=bearer(STREAM_TOKEN)).status_code == 401


@pytest.mark.parametrize("stream", ["nowhere", "gate", "x" * 200])
def test_a_stream_that_takes_no_publishers_is_not_found(client: TestClient, stream: str) -> None:
    answer = client.post(f"/whip/{stream}", content="v=0", headers=SDP)
    assert (answer.status_code, answer.json()["code"]) == (404, "whip.unknown_stream")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/sdpx", ""])
def test_another_media_type_is_refused_and_the_right_one_named(client: TestClient, kind: str) -> None:
    answer = client.post("/whip/open", content="v=0", headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["accept-post"]) == (415, "application/sdp")
    answer = client.patch("/whip/open/s1", content="v=0", headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["accept-patch"]) == (415, "application/trickle-ice-sdpfrag")


def test_parameters_of_the_media_type_do_no_harm(client: TestClient) -> None:
    kind = {"Content-Type": "Application/SDP; charset=utf-8"}
    assert client.post("/whip/open", content="v=0", headers=kind).status_code == 201


@pytest.mark.parametrize(("size", "status"), [(MAX_SDP_BYTES, 201), (MAX_SDP_BYTES + 1, 413)])
def test_an_sdp_has_a_largest_size(client: TestClient, size: int, status: int) -> None:
    assert client.post("/whip/open", content="x" * size, headers=SDP).status_code == status


def test_what_is_not_text_is_refused(client: TestClient) -> None:
    assert client.post("/whip/open", content=b"v=\xff\xfe", headers=SDP).status_code == 400


@pytest.mark.parametrize(
    ("code", "status"),
    [("whip.busy", 409), ("whip.malformed", 400), ("whip.unacceptable", 422), ("whip.unknown_session", 404),
     ("whip.no_ice_restart", 422), ("stream.not_reading", 503), ("worker.unanswered", 503), ("worker.failed", 503),
     ("webrtc.no_port", 503)],
)  # fmt: skip
def test_a_workers_refusal_has_its_status_and_reason(client: TestClient, stage: Stage, code: str, status: int) -> None:
    stage.refusal = code
    etag = client.post("/whip/open", content="v=0", headers=SDP)
    answer = client.delete("/whip/open/s1")
    for refused in (etag, answer):
        assert refused.status_code == status
        assert refused.json() == {
            "type": "about:blank", "status": status, "code": code, "detail": f"because of {code}",
        }  # fmt: skip
        assert ("retry-after" in refused.headers) == (status == 503)


def test_candidates_may_follow_with_the_sessions_etag(client: TestClient, stage: Stage) -> None:
    created = client.post("/whip/open", content="v=0", headers=SDP)
    location, etag = created.headers["location"], created.headers["etag"]
    assert client.patch(location, content="a=x", headers=FRAGMENT | {"If-Match": etag}).status_code == 204
    _, question, data = stage.asked[-1]
    assert (question, data) == ("whip.trickle", {"session": location.rsplit("/", 1)[1], "sdp": "a=x"})


@pytest.mark.parametrize(("etag", "status"), [(None, 428), ('"another"', 412), ("*", 422)])
def test_candidates_without_it_and_ice_restarts_are_refused(
    client: TestClient, stage: Stage, etag: str | None, status: int
) -> None:
    location = client.post("/whip/open", content="v=0", headers=SDP).headers["location"]
    headers = FRAGMENT | ({"If-Match": etag} if etag else {})
    assert client.patch(location, content="a=x", headers=headers).status_code == status
    assert [question for _, question, _ in stage.asked] == ["whip.offer"]


def test_delete_ends_the_session_it_names(client: TestClient, stage: Stage) -> None:
    assert client.delete("/whip/open/s1").status_code == 200
    assert stage.asked == [("open", "whip.end", {"session": "s1"})]


def test_other_methods_are_not_allowed(client: TestClient) -> None:
    assert client.get("/whip/open").status_code == 405
    assert client.put("/whip/open/s1").status_code == 405


def test_options_say_what_is_taken(client: TestClient) -> None:
    answer = client.options("/whip/stage")
    assert (answer.status_code, answer.headers["accept-post"]) == (204, "application/sdp")


def test_ice_servers_are_told_to_those_who_may_publish_and_to_nobody_else(client: TestClient, stage: Stage) -> None:
    stage.config = WebRtcConfig.model_validate({"ice_servers": [
        {"url": "stun:stun.example.org:3478"},
        {"url": "turn:turn.example.org?transport=udp", "username": "vigil", "credential": TURN_PASSWORD},
    ]})  # fmt: skip
    links = [
        '<stun:stun.example.org:3478>; rel="ice-server"',
        '<turn:turn.example.org?transport=udp>; rel="ice-server"; username="vigil"; '
        'credential="turn \\"s3cret\\""; credential-type="password"',
    ]
    created = client.post("/whip/stage", content="v=0", headers=SDP | bearer(STREAM_TOKEN))
    allowed = client.options("/whip/stage", headers=bearer(STREAM_TOKEN))
    assert created.headers.get_list("link") == links
    assert allowed.headers.get_list("link") == links
    for refused in (
        client.options("/whip/stage"),
        client.options("/whip/stage", headers=bearer("wrong")),
        client.post("/whip/stage", content="v=0", headers=SDP),
    ):
        assert "link" not in refused.headers
    _, _, data = stage.asked[0]
    assert data["webrtc"]["ice_servers"][1]["credential"] == TURN_PASSWORD
    assert TURN_PASSWORD not in json.dumps(stage.config.model_dump(mode="json")) + repr(stage.config)


PREFLIGHT = {
    "Origin": "https://example.org",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}


def test_pages_from_elsewhere_are_not_let_in_by_default(client: TestClient) -> None:
    for answer in (
        client.options("/whip/open", headers=PREFLIGHT),
        client.post("/whip/open", content="v=0", headers=SDP | {"Origin": "https://example.org"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_pages_from_allowed_origins_may_publish_and_nothing_else(stage: Stage) -> None:
    config = HttpConfig(token=SecretStr(HTTP_TOKEN), allow_origins=["https://example.org"])
    client = local_client(create_app(stage, config))
    asked = client.options("/whip/stage", headers=PREFLIGHT)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://example.org"
    origin = {"Origin": "https://example.org"}
    created = client.post("/whip/stage", content="v=0", headers=SDP | bearer(STREAM_TOKEN) | origin)
    assert "Location" in created.headers["access-control-expose-headers"]
    refused = client.post("/whip/stage", content="v=0", headers=SDP | origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://example.org")
    other = client.options("/whip/stage", headers=PREFLIGHT | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    rest = client.get("/metrics", headers=bearer(HTTP_TOKEN) | origin)
    assert rest.status_code == 200
    assert "access-control-allow-origin" not in rest.headers
