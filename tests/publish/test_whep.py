"""WHEP over HTTP: what is taken, what is refused and how."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from ingest.errors import VigilError
from ingest.webrtc.config import WebRtcConfig
from publish.config import HttpConfig
from publish.http import create_app
from publish.metrics import MergedMetrics
from publish.signalling import MAX_SDP_BYTES
from tests.publish.local import local_client

TOKEN = "house-s3cret"
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}


class ProblemError(VigilError):
    def __init__(self, code: str) -> None:
        super().__init__(f"because of {code}")
        self.code = code


class House:
    """A service with one stream."""

    def __init__(self) -> None:
        self.metrics = MergedMetrics()
        self.changes = None
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.refusal: str | None = None
        self.config = WebRtcConfig()

    def webrtc(self) -> WebRtcConfig:
        return self.config

    async def ask_preview(self, question: str, stream: str, **data: Any) -> dict[str, Any]:
        self.asked.append((question, stream, data))
        if self.refusal:
            raise ProblemError(self.refusal)
        return {"sdp": "v=0 the answer", "overlay": "burned"} if question == "whep.offer" else {}


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def client(house: House) -> TestClient:
    return local_client(create_app(house, HttpConfig()))


@pytest.mark.parametrize(
    ("query", "overlay"), [("", "auto"), ("?overlay=client", "client"), ("?overlay=burned", "burned")]
)
def test_an_offer_is_answered_with_a_session_and_the_overlay_that_was_taken(
    client: TestClient, house: House, query: str, overlay: str
) -> None:
    answer = client.post(f"/whep/gate{query}", content="v=0 the offer", headers=SDP)
    assert answer.status_code == 201
    assert (answer.headers["content-type"], answer.text) == ("application/sdp", "v=0 the answer")
    assert answer.headers["vigil-overlay"] == "burned"
    question, stream, data = house.asked[0]
    assert (question, stream, data["sdp"], data["overlay"]) == ("whep.offer", "gate", "v=0 the offer", overlay)
    assert answer.headers["location"] == f"/whep/gate/{data['session']}"
    assert answer.headers["etag"].startswith('"')


def test_an_overlay_that_there_is_not_is_refused(client: TestClient, house: House) -> None:
    assert client.post("/whep/gate?overlay=none", content="v=0", headers=SDP).status_code == 422
    assert not house.asked


def test_a_session_is_trickled_to_and_ended_by_its_url(client: TestClient, house: House) -> None:
    created = client.post("/whep/gate", content="v=0", headers=SDP)
    location, session = created.headers["location"], house.asked[0][2]["session"]
    headers = FRAGMENT | {"If-Match": created.headers["etag"]}
    assert client.patch(location, content="a=x", headers=headers).status_code == 204
    assert client.delete(location).status_code == 200
    assert house.asked[1:] == [
        ("whep.trickle", "gate", {"session": session, "sdp": "a=x"}), ("whep.end", "gate", {"session": session}),
    ]  # fmt: skip


@pytest.mark.parametrize(("etag", "status"), [(None, 428), ('"another"', 412), ("*", 422)])
def test_candidates_for_another_ice_session_are_refused(
    client: TestClient, house: House, etag: str | None, status: int
) -> None:
    location = client.post("/whep/gate", content="v=0", headers=SDP).headers["location"]
    headers = FRAGMENT | ({"If-Match": etag} if etag else {})
    answer = client.patch(location, content="a=x", headers=headers)
    assert answer.status_code == status
    assert answer.json()["code"].startswith("whep.")
    assert len(house.asked) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_another_media_type_is_refused_and_the_right_one_named(client: TestClient, kind: str) -> None:
    answer = client.post("/whep/gate", content="v=0", headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["accept-post"]) == (415, "application/sdp")
    assert answer.json()["code"] == "whep.media_type"


@pytest.mark.parametrize(("size", "status"), [(MAX_SDP_BYTES, 201), (MAX_SDP_BYTES + 1, 413)])
def test_an_offer_has_a_largest_size(client: TestClient, size: int, status: int) -> None:
    assert client.post("/whep/gate", content="x" * size, headers=SDP).status_code == status


@pytest.mark.parametrize(
    ("code", "status"),
    [("preview.no_stream", 404), ("preview.disabled", 403), ("preview.codec", 422), ("preview.masked", 422),
     ("preview.encoder", 422), ("preview.too_many_viewers", 503), ("whep.malformed", 400), ("whep.unacceptable", 422),
     ("whep.unknown_session", 404), ("whep.no_ice_restart", 422), ("webrtc.no_port", 503), ("worker.unanswered", 503)],
)  # fmt: skip
def test_a_refusal_has_its_status_and_reason(client: TestClient, house: House, code: str, status: int) -> None:
    house.refusal = code
    for refused in (client.post("/whep/gate", content="v=0", headers=SDP), client.delete("/whep/gate/s1")):
        assert refused.status_code == status
        assert refused.headers["content-type"] == "application/problem+json"
        assert (refused.json()["code"], refused.json()["detail"]) == (code, f"because of {code}")
        assert ("retry-after" in refused.headers) == (status == 503)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/whep/gate"), ("PATCH", "/whep/gate/s"), ("DELETE", "/whep/gate/s")]
)
@pytest.mark.parametrize("token", [None, "wrong"])
def test_nobody_watches_without_the_token(house: House, method: str, path: str, token: str | None) -> None:
    guarded = local_client(create_app(house, HttpConfig(token=SecretStr(TOKEN))))
    headers = SDP | ({"Authorization": f"Bearer {token}"} if token else {})
    assert guarded.request(method, path, content="v=0", headers=headers).status_code == 401
    assert not house.asked
    allowed = guarded.request("POST", "/whep/gate", content="v=0", headers=SDP | {"Authorization": f"Bearer {TOKEN}"})
    assert allowed.status_code == 201


def test_players_on_allowed_pages_may_read_where_their_session_is(house: House) -> None:
    page = {"Origin": "https://example.org"}
    config = HttpConfig(token=SecretStr(TOKEN), allow_origins=["https://example.org"])
    client = local_client(create_app(house, config))
    preflight = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert client.options("/whep/gate", headers=preflight).status_code == 200
    headers = SDP | page | {"Authorization": f"Bearer {TOKEN}"}
    told = client.post("/whep/gate", content="v=0", headers=headers).headers["access-control-expose-headers"]
    assert {"Location", "Vigil-Overlay"} <= {name.strip() for name in told.split(",")}


def test_options_say_what_is_taken_and_which_servers_to_use(client: TestClient, house: House) -> None:
    house.config = WebRtcConfig.model_validate({"ice_servers": [{"url": "stun:stun.example.org:3478"}]})
    answer = client.options("/whep/gate")
    assert (answer.status_code, answer.headers["accept-post"]) == (204, "application/sdp")
    assert answer.headers["link"] == '<stun:stun.example.org:3478>; rel="ice-server"'
