"""Credentials never survive `redact`, and nothing else changes."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.redact import redact

UNRESERVED = string.ascii_letters + string.digits + "-._~"
# What RFC 3986 lets stand in userinfo, and the raw characters that cameras accept beside it.
users = st.text(UNRESERVED + "!$&'()+,;=%", min_size=0, max_size=12)
passwords = st.text(UNRESERVED + "!$&'()+,;=%@?#:", min_size=6, max_size=20)
words = st.text(string.ascii_letters + string.digits + " .,:;=()[]'\"\n@/-", max_size=30)
schemes = st.sampled_from(["rtsp", "rtsps", "nats", "tls", "http", "wss", "RTSP"])


@given(before=words, scheme=schemes, user=users, password=passwords, after=words)
def test_a_password_in_a_url_never_appears(before: str, scheme: str, user: str, password: str, after: str) -> None:
    # A password that also stands elsewhere in the text would be found there: this one stands nowhere else.
    password = f"Zq{password}qZ"
    assert password not in redact(f"{before}{scheme}://{user}:{password}@10.0.0.12:554/stream1{after}")


@given(before=words, scheme=schemes, user=users, first=passwords, second=passwords, after=words)
def test_redacted_text_does_not_depend_on_the_password(
    before: str, scheme: str, user: str, first: str, second: str, after: str
) -> None:
    texts = [redact(f"{before}{scheme}://{user}:{password}@cam/1 {after}") for password in (first, second)]
    assert texts[0] == texts[1]


@given(first=passwords, second=passwords, separator=st.sampled_from([",", " ", ", ", "\n"]))
def test_every_url_of_a_list_is_redacted(first: str, second: str, separator: str) -> None:
    first, second = f"Zq{first}qZ", f"Yw{second}wY"
    text = redact(f"nats://a:{first}@one:4222{separator}nats://b:{second}@two:4222")
    assert first not in text
    assert second not in text
    assert "one:4222" in text
    assert "two:4222" in text


@given(
    key=st.sampled_from(["token", "access_token", "password", "passwd", "pwd", "api_key", "apikey", "auth", "Secret"]),
    value=st.text(UNRESERVED + "!$()+,;=%:@/?", min_size=6, max_size=20),
    first=st.booleans(),
)
def test_a_secret_in_a_query_never_appears(key: str, value: str, first: bool) -> None:
    value = f"Zq{value}qZ"
    query = f"{key}={value}&x=1" if first else f"x=1&{key}={value}"
    text = redact(f"GET https://camera/live?{query} failed")
    assert value not in text
    assert "failed" in text
    assert "x=1" in text


def test_the_user_and_the_host_stay_readable() -> None:
    assert redact("open rtsp://gate:hunter2@10.0.0.12/s1?token=abc&x=1: refused") == (
        "open rtsp://gate:***@10.0.0.12/s1?token=***&x=1: refused"
    )


def test_a_password_without_a_user_is_hidden() -> None:
    assert redact("rtsp://:hunter2@cam/1") == "rtsp://:***@cam/1"


def test_a_raw_at_sign_in_a_password_does_not_end_it() -> None:
    assert redact("rtsp://u:p@ss@cam/1") == "rtsp://u:***@cam/1"


def test_a_nats_token_in_a_url_is_hidden() -> None:
    """NATS takes `nats://<token>@host`: what stands alone before the @ is the secret."""
    assert "s3cr3tt0ken" not in redact("cannot reach nats://s3cr3tt0ken@nats:4222")
    assert "s3cr3tt0ken" not in redact("cannot reach tls://s3cr3tt0ken@nats:4222")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://10.0.0.12:554/stream1",
        "nats://localhost:4222,nats://other:4222",
        "http://host:8080/a@b",
        "write to someone@example.com",
        "x=1 key=2 author=me tokens=5 and 3@4",
        "https://host/x?width=640&height=360#top",
        "/videos/car park: 1.mp4",
        "rtsp://[::1]:554/x",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.characters(exclude_characters="@="), max_size=80))
def test_text_that_can_hold_no_secret_is_unchanged(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=80), passwords)
def test_redacting_twice_changes_nothing_more(text: str, password: str) -> None:
    once = redact(f"{text} rtsp://u:{password}@h/x?token={password} ")
    assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rtmp://cam/live/k3y-abc", "rtmp://cam/live/***"),
        ("rtmps://u:pw@cam:1935/app/inst/k3y?x=1", "rtmps://u:***@cam:1935/app/inst/***?x=1"),
        ("rtmp://cam/live", "rtmp://cam/live"),
    ],
)
def test_a_stream_key_is_a_secret(text: str, told: str) -> None:
    assert redact(text) == told
    assert redact(told) == told
