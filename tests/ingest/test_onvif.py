"""Asking devices for their streams: real HTTP, honest cameras and hostile ones."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import time
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.discovery import Found
from ingest.errors import Reason, SourceError
from ingest.onvif import MAX_ANSWER_BYTES, Described, Login, describe
from tests.onvif_device import ENVELOPE, Offer, OnvifDevice, reply

OFFERS = [
    Offer("main", 1920, 1080, "rtsp://192.168.0.64:8554/main?a=1&b=2"),
    Offer("sub", 640, 360, "rtsp://admin:12345@192.168.0.64/sub"),
]
PASSWORD = OnvifDevice([]).password
VIEWER = Login("viewer", PASSWORD)


def ask(device: OnvifDevice, login: Login | None = VIEWER, timeout_s: float = 10.0) -> Described:
    url = f"http://127.0.0.1:{device.port}/onvif/device"
    return asyncio.run(describe(Found("127.0.0.1", url, url), login, timeout_s))


def refusal(device: OnvifDevice, login: Login | None = VIEWER, timeout_s: float = 10.0) -> SourceError:
    with pytest.raises(SourceError) as refused:
        ask(device, login, timeout_s)
    return refused.value


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Reading the service descriptions takes a second, once in a process."""
    with OnvifDevice(OFFERS) as device:
        ask(device)


def test_a_camera_tells_its_make_and_streams_at_the_address_that_answered() -> None:
    with OnvifDevice(OFFERS) as device:
        told = ask(device)
    assert (told.manufacturer, told.model, told.firmware) == ("Tests", "T1", "1.0")
    assert [(p.token, p.encoding, p.width, p.height, p.fps, p.url) for p in told.profiles] == [
        ("main", "h264", 1920, 1080, 10, "rtsp://127.0.0.1:8554/main?a=1&b=2"),
        ("sub", "h264", 640, 360, 10, "rtsp://127.0.0.1/sub"),
    ]


def test_the_password_is_never_sent() -> None:
    with OnvifDevice(OFFERS) as device:
        ask(device)
    assert not [body for body in device.bodies if PASSWORD in body]
    assert PASSWORD not in repr(Login("viewer", PASSWORD))


@pytest.mark.parametrize("hours", [-3, 5])
def test_a_camera_whose_clock_is_wrong_lets_us_in(hours: int) -> None:
    with OnvifDevice(OFFERS, clock=timedelta(hours=hours)) as device:
        assert len(ask(device).profiles) == 2


def test_a_camera_behind_nat_is_asked_where_it_answered() -> None:
    with OnvifDevice(OFFERS, advertised_host="192.0.2.64") as device:
        assert len(ask(device).profiles) == 2


def test_a_wrong_password_is_told_as_such() -> None:
    with OnvifDevice(OFFERS) as device:
        error = refusal(device, Login("viewer", "guess-42"))
    assert error.reason is Reason.AUTH
    assert "the user or password is wrong" in error.detail
    assert "guess-42" not in error.detail


def test_a_camera_that_wants_a_login_and_gets_none_says_so() -> None:
    with OnvifDevice(OFFERS) as device:
        error = refusal(device, None)
    assert error.reason is Reason.AUTH
    assert "it wants a user and a password" in error.detail


def test_a_camera_that_wants_http_digest_gets_it() -> None:
    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    with OnvifDevice(OFFERS) as device:
        serve = device.serve

        def challenge(http: BaseHTTPRequestHandler) -> None:
            sent = dict(re.findall(r'(\w+)="?([^",]+)', http.headers.get("Authorization", "")))
            secret, question = md5(f"viewer:cam:{PASSWORD}"), md5(f"POST:{http.path}")
            if sent.get("response") == md5(f"{secret}:n1:{sent.get('nc')}:{sent.get('cnonce')}:auth:{question}"):
                serve(http)
                return
            http.rfile.read(int(http.headers["Content-Length"]))
            http.send_response(401)
            http.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="n1", qop="auth", algorithm=MD5')
            http.send_header("Content-Length", "0")
            http.end_headers()

        device.serve = challenge  # type: ignore[method-assign]
        assert len(ask(device).profiles) == 2
        assert refusal(device, Login("viewer", "guess-42")).reason is Reason.AUTH
        assert refusal(device, None).reason is Reason.AUTH


def test_a_camera_that_needs_no_login_is_asked_without_one() -> None:
    with OnvifDevice(OFFERS) as device:
        device._authorized = lambda body: "UsernameToken" not in body  # type: ignore[method-assign]
        assert len(ask(device, None).profiles) == 2


def test_a_profile_without_a_stream_does_not_cost_the_others() -> None:
    offers = [Offer("snapshots", 640, 480, "http://127.0.0.1/jpeg"), Offer("odd", 1, 1, "rtsp://[::bad/x"), *OFFERS]
    with OnvifDevice(offers) as device:
        assert [profile.token for profile in ask(device).profiles] == ["main", "sub"]
    with OnvifDevice(offers[:2]) as device:
        assert refusal(device).reason is Reason.NO_VIDEO


def test_nobody_there_is_told_as_refused() -> None:
    with OnvifDevice(OFFERS) as device:
        pass
    error = refusal(device)
    assert (error.reason, "http://127.0.0.1" in error.detail) == (Reason.REFUSED, True)


def test_an_unknown_host_is_told_as_such() -> None:
    with pytest.raises(SourceError) as refused:
        asyncio.run(describe(Found("camera.invalid", "http://camera.invalid/onvif", "x"), VIEWER, 10.0))
    assert refused.value.reason is Reason.UNREACHABLE


def test_a_device_that_never_answers_costs_no_more_than_the_time_out() -> None:
    def hang(http: BaseHTTPRequestHandler) -> None:
        http.rfile.read(1)  # until the asker leaves

    with OnvifDevice(OFFERS, answers={"GetServices": hang}) as device:
        began = time.monotonic()
        assert refusal(device, timeout_s=1.0).reason is Reason.TIMEOUT
        assert time.monotonic() - began < 5


def endless(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("Content-Type", "application/soap+xml")
    http.send_header("Content-Length", str(10 * MAX_ANSWER_BYTES))
    http.end_headers()
    try:
        for _ in range(10):
            http.wfile.write(b" " * MAX_ANSWER_BYTES)
    except OSError:
        http.close_connection = True


def compressed(http: BaseHTTPRequestHandler) -> None:
    data = gzip.compress(b" " * 50 * MAX_ANSWER_BYTES)
    http.send_response(200)
    http.send_header("Content-Encoding", "gzip")
    http.send_header("Content-Length", str(len(data)))
    http.end_headers()
    http.wfile.write(data)


def elsewhere(http: BaseHTTPRequestHandler) -> None:
    http.send_response(307)
    http.send_header("Location", "http://127.0.0.1:1/onvif/device")
    http.send_header("Content-Length", "0")
    http.end_headers()


ENTITIES = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "{}"><!ENTITY b "{}">]>'.format("x" * 1000, "&a;" * 1000)
HOSTILE: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "endless": endless,
    "compressed": compressed,
    "elsewhere": elsewhere,
    "nothing": lambda http: reply(http, b""),
    "a web page": lambda http: reply(http, "<html><body>Login</body></html>"),
    "a web page that refuses": lambda http: reply(http, "<html>no</html>", 401),
    "no UTF-8": lambda http: reply(http, b'<?xml version="1.0" encoding="UTF-8"?>\xff\xfe<a>'),
    "an odd encoding": lambda http: reply(http, b'<?xml version="1.0" encoding="EBCDIC-CP-XX"?><a/>'),
    "another namespace": lambda http: reply(http, ENVELOPE.format("<x:GetServicesResponse xmlns:x='urn:x'/>")),
    "entities": lambda http: reply(http, ENTITIES + ENVELOPE.split("?>")[1].format("&b;" * 1000)),
    "a file of ours": lambda http: reply(
        http, '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + ENVELOPE.split("?>")[1].format("&a;")
    ),
    "depth": lambda http: reply(http, b"<a>" * 300_000),
    "closed depth": lambda http: reply(http, ENVELOPE.format("<a>" * 100_000 + "</a>" * 100_000)),
    "a fault of control characters": lambda http: reply(
        http,
        ENVELOPE.format(
            "<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text>bad\u0085\u2028 line"
            "</s:Text></s:Reason></s:Fault>"
        ),
        500,
    ),
}


@pytest.mark.parametrize("answer", [endless, compressed])
def test_an_answer_is_read_no_further_than_its_bound(answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
    with OnvifDevice(OFFERS, answers={"GetProfiles": answer}) as device:
        error = refusal(device)
    assert (error.reason, "its answer is longer than 1048576 bytes" in error.detail) == (Reason.CORRUPT, True)


def test_a_device_cannot_make_us_ask_another_machine() -> None:
    with OnvifDevice(OFFERS) as other:

        def redirect(http: BaseHTTPRequestHandler) -> None:
            http.send_response(307)
            http.send_header("Location", f"http://127.0.0.1:{other.port}/onvif/device")
            http.send_header("Content-Length", "0")
            http.end_headers()

        with OnvifDevice(OFFERS, answers={"GetProfiles": redirect}) as device:
            assert "it redirects to elsewhere" in refusal(device).detail
    assert other.asked == []


@pytest.mark.parametrize("call", ["GetSystemDateAndTime", "GetServices", "GetProfiles", "GetStreamUri"])
@pytest.mark.parametrize("answer", HOSTILE)
def test_a_hostile_answer_is_a_reason_soon_and_no_crash(answer: str, call: str) -> None:
    calls = [call, "GetCapabilities"] if call == "GetServices" else [call]
    with OnvifDevice(OFFERS, answers=dict.fromkeys(calls, HOSTILE[answer])) as device:
        began = time.monotonic()
        try:
            assert ask(device).profiles  # a clock that cannot be read does no harm
        except SourceError as error:
            assert error.detail.isprintable()
            assert "root:" not in error.detail
        assert time.monotonic() - began < 10


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_answer_is_a_reason_and_no_crash(data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(["GetServices", "GetDeviceInformation", "GetProfiles", "GetStreamUri"]))
    places = data.draw(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), min_size=1, max_size=8))
    with OnvifDevice(OFFERS) as device:

        def damage(http: BaseHTTPRequestHandler) -> None:
            answer = bytearray(ENVELOPE.format(getattr(device, f"_{call}")(device.bodies[-1])).encode())
            for place, byte in places:
                answer[place % len(answer)] = byte
            reply(http, bytes(answer))

        device.answers[call] = damage
        try:
            told = ask(device)
        except SourceError as error:
            assert error.detail.isprintable()
        else:
            assert all(profile.url.startswith(("rtsp://127.0.0.1", "rtsps://127.0.0.1")) for profile in told.profiles)
