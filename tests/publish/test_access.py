"""Who may ask what: every route is in the table, tokens and cookies open what they should, and nothing else does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr, ValidationError
from starlette.routing import Mount
from starlette.testclient import TestClient

from publish.access.logins import COOKIE, SESSION_S, Logins, May
from publish.access.pace import MOST_CLIENTS, Pace, client_of, is_loopback
from publish.access.routes import Access, classed
from publish.config import HttpConfig
from publish.http import create_app
from tests.publish.local import HERE, local_client
from tests.publish.test_http import SmallView

TOKEN, READ_TOKEN = "the-whole-token", "the-read-token"
GUARDED = HttpConfig(token=SecretStr(TOKEN), read_token=SecretStr(READ_TOKEN))
OUTSIDE = "192.0.2.7"


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method, and a path that it is for."""
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"{\w+:path}", "a/b.css", route.path or "")
        path = re.sub(r"{\w+}", "gate", path)
        if isinstance(route.original_route, Mount):
            yield "GET", f"{path}/a/b.css"
        for method in sorted(route.methods or ()):
            yield method, path


BEYOND = create_app(SmallView(), HttpConfig(host="0.0.0.0"))
ROUTES = sorted(routes_of(BEYOND))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def view() -> SmallView:
    return SmallView()


@pytest.fixture
def guarded(view: SmallView) -> TestClient:
    return local_client(create_app(view, GUARDED))


@pytest.fixture(scope="module")
def house() -> TestClient:
    """A guarded one for those who do not get in."""
    return local_client(create_app(SmallView(), GUARDED))


def test_the_walk_finds_the_routes_of_all_parts() -> None:
    assert {("GET", "/metrics"), ("POST", "/whip/gate"), ("PATCH", "/api/v1/streams/gate")} <= set(ROUTES)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_says_in_the_table_who_may_reach_it(method: str, path: str) -> None:
    assert classed(method, path) is not None, "add it to publish/access/routes.py"


@pytest.mark.parametrize(("method", "path"), [one for one in ROUTES if classed(*one) is not Access.OPEN])
def test_without_a_token_nothing_is_reached_from_elsewhere(method: str, path: str) -> None:
    elsewhere = local_client(BEYOND, OUTSIDE, "http://192.0.2.1:8600")
    answer = elsewhere.request(method, path)
    if classed(method, path) is Access.OWN:
        assert answer.status_code in (401, 204) and (answer.status_code == 401) == (method != "OPTIONS")
    else:
        assert answer.status_code == 403
        assert method == "HEAD" or answer.json()["code"] == "http.token_needed"


@pytest.mark.parametrize(("method", "path"), [one for one in ROUTES if classed(*one) in (Access.READ, Access.WRITE)])
def test_with_a_token_nothing_is_reached_without_it(house: TestClient, method: str, path: str) -> None:
    assert house.request(method, path).status_code == 401


@pytest.mark.parametrize(("method", "path"), [one for one in ROUTES if classed(*one) is Access.WRITE])
def test_who_may_read_changes_nothing(house: TestClient, method: str, path: str) -> None:
    answer = house.request(method, path, headers=bearer(READ_TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (403, "http.read_only")


def test_who_may_read_sees_pictures_and_figures(house: TestClient) -> None:
    for path in ("/metrics", "/api/v1/streams/gate/snapshot.jpg", "/api/v1/streams"):
        assert house.get(path, headers=bearer(READ_TOKEN)).status_code == 200


def test_a_path_that_is_in_no_table_takes_the_whole_token(house: TestClient) -> None:
    assert house.get("/nowhere", headers=bearer(READ_TOKEN)).status_code == 403
    answer = house.get("/nowhere", headers=bearer(TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (404, "http.not_found")


@pytest.mark.parametrize("path", ["/api/v1/streams/", "//api/v1/streams", "/api/v1/../v1/streams", "/API/v1/streams"])
def test_a_path_that_only_looks_like_another_opens_nothing(house: TestClient, path: str) -> None:
    assert house.get(path, headers=bearer(READ_TOKEN)).status_code in (401, 403, 404) or path.count("..")


# -- this machine, and what only looks like it


def test_this_machines_own_programs_need_no_token_where_there_is_none(view: SmallView) -> None:
    for address, url in (("127.0.0.1", HERE), ("::1", "http://[::1]:8600"), ("127.0.0.9", "http://localhost")):
        assert local_client(create_app(view, HttpConfig()), address, url).get("/api/v1/streams").status_code == 200


def test_a_name_of_somebody_elses_that_leads_here_is_refused(view: SmallView) -> None:
    """DNS rebinding: the page of attacker.example asks this machine, under its own name."""
    client = local_client(create_app(view, HttpConfig()), url="http://attacker.example:8600")
    assert client.get("/api/v1/streams").json()["code"] == "http.host"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_what_a_proxy_on_this_machine_passes_on_is_not_this_machines(view: SmallView, header: str) -> None:
    client = local_client(create_app(view, HttpConfig()))
    assert client.get("/api/v1/streams", headers={header: "203.0.113.9"}).json()["code"] == "http.token_needed"


def test_a_proxy_is_believed_only_where_it_is_configured(view: SmallView) -> None:
    config = HttpConfig(trusted_proxies=["127.0.0.1"])
    believed = local_client(create_app(view, config))
    assert believed.get("/api/v1/streams", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200
    assert believed.get("/api/v1/streams", headers={"X-Forwarded-For": OUTSIDE}).status_code == 403
    stranger = local_client(create_app(view, config), OUTSIDE)
    assert stranger.get("/api/v1/streams", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403


# -- pages of other sites


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://attacker.example"}, {"Origin": "http://attacker.example", "Authorization": "Basic YTpi"},
     {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}],
)  # fmt: skip
def test_a_page_of_another_site_changes_nothing(view: SmallView, headers: dict[str, str]) -> None:
    client = local_client(create_app(view, HttpConfig()))
    answer = client.delete("/api/v1/streams/gate", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "http.cross_origin")
    assert "gate" in view.cameras.settings


def test_nor_does_it_show_our_pictures(view: SmallView) -> None:
    client = local_client(create_app(view, HttpConfig()))
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get("/api/v1/streams/gate/snapshot.jpg", headers=embedded).status_code == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/api/v1/streams", headers=followed).status_code == 200


def test_our_own_page_may(view: SmallView) -> None:
    client = local_client(create_app(view, HttpConfig()))
    for headers in ({"Origin": HERE}, {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}):
        assert client.post("/api/v1/streams/gate/pause", headers=headers).status_code == 200


# -- cookies


def test_a_login_stands_for_the_token(guarded: TestClient) -> None:
    answer = guarded.post("/api/v1/session", json={"token": TOKEN})
    assert (answer.status_code, answer.content) == (204, b"")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and TOKEN not in cookie
    assert guarded.get("/api/v1/session").json() == {"token_needed": True, "may": "all"}
    assert guarded.post("/api/v1/streams/gate/pause").status_code == 200


def test_who_logs_out_is_out_even_with_a_copy_of_the_cookie(guarded: TestClient) -> None:
    guarded.post("/api/v1/session", json={"token": READ_TOKEN})
    copy = guarded.cookies[COOKIE]
    assert guarded.get("/api/v1/session").json()["may"] == "read"
    assert guarded.delete("/api/v1/session").status_code == 204
    assert guarded.get("/api/v1/session", headers={"Cookie": f"{COOKIE}={copy}"}).json()["may"] == "nothing"


def test_a_cookie_is_secure_where_the_connection_is(view: SmallView) -> None:
    client = local_client(create_app(view, GUARDED), url="https://127.0.0.1:8600")
    assert "Secure" in client.post("/api/v1/session", json={"token": TOKEN}).headers["set-cookie"]


def test_cookies_end_and_cannot_be_made_or_lengthened() -> None:
    logins = Logins(GUARDED)
    cookie = logins.begin(May.READ, now_s=1000.0)
    assert logins.of_cookie(cookie, 1000.0 + SESSION_S - 1) is May.READ
    assert logins.of_cookie(cookie, 1000.0 + SESSION_S) is May.NOTHING
    may, ends, rest = cookie.split(".", 2)
    for forged in (f"all.{ends}.{rest}", f"{may}.{int(ends) + 1}.{rest}", cookie[:-1], "", "a.b.c.d", f"{cookie}é"):
        assert logins.of_cookie(forged, 1000.0) is May.NOTHING


def test_a_cookie_is_bound_to_the_token_in_force() -> None:
    cookie = Logins(GUARDED).begin(May.ALL, 0.0)
    assert Logins(GUARDED).of_cookie(cookie, 1.0) is May.ALL, "also by a service that was started again"
    assert Logins(HttpConfig(token=SecretStr("another"))).of_cookie(cookie, 1.0) is May.NOTHING


def test_guessing_a_token_from_a_cookie_is_slow(real_work: int) -> None:
    assert real_work >= 1 << 14  # 16 MiB and tens of milliseconds for each guess


def test_a_session_half_of_which_is_over_is_renewed() -> None:
    logins = Logins(GUARDED)
    cookie = logins.begin(May.ALL, 0.0)
    assert not logins.half_over(cookie, SESSION_S / 2) and logins.half_over(cookie, SESSION_S / 2 + 1)


def test_where_there_is_no_token_there_is_nothing_to_log_in_with(view: SmallView) -> None:
    client = local_client(create_app(view, HttpConfig()))
    assert client.get("/api/v1/session").json() == {"token_needed": False, "may": "all"}
    assert client.post("/api/v1/session", json={"token": "x"}).json()["code"] == "session.no_token"


# -- how often


@pytest.mark.parametrize(
    "way", ["GET /metrics", "GET /api/v1/session", "login", "POST /whip/stage", "OPTIONS /whip/stage"]
)
def test_tokens_cannot_be_guessed_quickly(guarded: TestClient, way: str) -> None:
    def attempt(token: str) -> int:
        if way == "login":
            return guarded.post("/api/v1/session", json={"token": token}).status_code
        method, path = way.split()
        return guarded.request(method, path, headers=bearer(token)).status_code

    # What may be asked by all is answered, though not for ever.
    assert {attempt(f"guess {n}") for n in range(10)} == {200 if way == "GET /api/v1/session" else 401}
    assert attempt("one more") == 429
    assert attempt(TOKEN) == 429, "the right one among many is not told"
    other = local_client(guarded.app, OUTSIDE)
    assert other.get("/metrics", headers=bearer(TOKEN)).status_code == 200, "others are let in"


def test_who_asks_too_often_is_told_when_to_come_back(view: SmallView) -> None:
    client = local_client(create_app(view, HttpConfig(requests_per_second=1)))
    answers = [client.get("/health/live") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["code"] == "http.too_many_requests"


def test_a_bucket_fills_with_time_and_never_over() -> None:
    pace = Pace(rate=2.0, burst=3.0)
    assert [pace.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert pace.take("b", 0.0) == 0.0, "each has its own"
    assert pace.take("a", 0.5) == 0.0 and pace.take("a", 0.5) == 0.5
    assert [pace.take("a", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_only_so_many_clients_are_remembered() -> None:
    pace = Pace(rate=0.001, burst=1.0)
    for n in range(MOST_CLIENTS + 1):
        assert pace.take(str(n), 0.0) == 0.0
    assert pace.take("0", 0.0) == 0.0, "forgotten"
    assert pace.take(str(MOST_CLIENTS), 0.0) > 0


def test_a_network_of_ipv6_is_one_client() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff") != client_of("2001:db8:0:1::1")
    assert client_of("::ffff:192.0.2.1") == client_of("192.0.2.1")
    assert is_loopback("::ffff:127.0.0.1") and is_loopback("127.9.9.9") and not is_loopback("localhost.example")


# -- settings


@pytest.mark.parametrize(
    "settings", [{"read_token": "x"}, {"token": "x", "read_token": "x"}, {"token": ""}, {"trusted_proxies": ["proxy"]}]
)
def test_settings_that_would_open_what_they_should_not_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpConfig.model_validate(settings)
