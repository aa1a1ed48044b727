"""What the settings of a login become, and which of them are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from publish.config import IN_CLEAR, NatsConfig
from publish.login import LoginError, conflicts, file_problems, is_secured, options, servers_of
from tests.publish.authority import Authority

SEED = "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU"
"""From the documentation of NATS; it is nobody's."""


def test_a_login_in_the_url_is_taken_out_of_it_and_decoded() -> None:
    found = options(NatsConfig(), "nats://vigil:p%40ss@a:4222,nats://b:4222")
    assert (found["servers"], found["user"], found["password"]) == (["nats://a:4222", "nats://b:4222"], "vigil", "p@ss")
    assert options(NatsConfig(), "nats://t0ken@a")["token"] == "t0ken"


def test_settings_become_options() -> None:
    assert options(NatsConfig(user="u", password="p"), "nats://a") == {
        "servers": ["nats://a"], "user": "u", "password": "p"
    }  # fmt: skip
    assert options(NatsConfig(token="t"), "nats://a")["token"] == "t"


@pytest.mark.parametrize(
    ("settings", "secured"),
    [
        ({"url": "nats://a"}, False), ({"url": "tls://a"}, True), ({"url": "wss://a"}, True),
        ({"url": "nats://a", "tls": {"host_name": "x"}}, True), ({"url": "nats://a", "tls": {"first": True}}, True),
        ({"url": "nats://a", "tls": {}}, False),
    ],
)  # fmt: skip
def test_what_is_to_be_secured_stays_so_on_its_way_to_a_worker(settings: dict[str, Any], secured: bool) -> None:
    config = NatsConfig.model_validate(settings)
    arrived = NatsConfig.model_validate(config.model_dump(mode="json", context={IN_CLEAR: True}))
    assert is_secured(config, config.url) is secured
    assert is_secured(arrived, arrived.url) is secured


def test_secrets_reach_a_worker_and_show_nowhere_else() -> None:
    config = NatsConfig(url="nats://a", user="u", password="hunter2")
    assert config.model_dump(mode="json", context={IN_CLEAR: True})["password"] == "hunter2"
    assert "hunter2" not in config.model_dump_json() + repr(config) + str(config.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({"url": "nats://a"}, []),
        ({"url": "nats://u:p@a,nats://b", "tls": {"host_name": "x"}}, []),
        ({"url": "nats://a", "user": "u"}, ["user"]),
        ({"url": "nats://a", "password": "p"}, ["password"]),
        ({"url": "nats://a", "user": "u", "password": "p", "token": "t"}, ["token"]),
        ({"url": "nats://a", "token": "t", "nkey": "x", "credentials": "y"}, ["nkey", "credentials"]),
        ({"url": "nats://u:p@a", "token": "t"}, ["url"]),
        ({"url": "nats://u:p@a,nats://u:q@b"}, ["url"]),
        ({"url": "embedded", "token": "t", "tls": {"first": True}}, ["token", "tls.first"]),
        ({"url": "ws://a", "tls": {"host_name": "x"}}, ["tls"]),
        ({"url": "nats://a,wss://b"}, ["url"]),
        ({"url": "wss://a", "tls": {"first": True}}, ["tls.first"]),
        ({"url": "tls://a", "tls": {"key": "x"}}, ["tls.key"]),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings: dict[str, Any], fields: list[str]) -> None:
    found = conflicts(NatsConfig.model_validate(settings))
    assert [field for field, *_ in found] == fields
    assert all(message and mend for _, _, message, mend in found)
    assert "p@a" not in str(found)


def test_a_url_with_several_logins_shows_none_of_them() -> None:
    assert ":p@" not in str(conflicts(NatsConfig(url="nats://u:p@a,nats://v:q@b")))
    assert servers_of("nats://u:p@[::1]:4222").urls == ["nats://[::1]:4222"]


@pytest.mark.parametrize(
    ("setting", "content", "code"),
    [
        ("nkey", None, "config.file_missing"),
        ("nkey", "not a seed", "config.file_invalid"),
        ("nkey", SEED[:30], "config.file_invalid"),
        ("nkey", SEED, None),
        ("credentials", "-----BEGIN NATS USER JWT-----\nx\n", "config.file_invalid"),
        ("credentials", f"-----BEGIN USER NKEY SEED-----\n{SEED}\n", "config.file_invalid"),
        ("credentials", f"-----BEGIN NATS USER JWT-----\nx\n-----BEGIN USER NKEY SEED-----\n{SEED}\n", None),
        ("tls.ca", None, "config.file_missing"),
        ("tls.ca", "not a certificate", "config.file_invalid"),
        ("tls.certificate", "not a certificate", "config.file_invalid"),
    ],
)
def test_files_that_are_missing_or_wrong_are_named_without_their_content(
    tmp_path: Path, setting: str, content: str | None, code: str | None
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    top, _, below = setting.partition(".")
    config = NatsConfig.model_validate({"url": "tls://a", top: {below: str(file)} if below else str(file)})
    found = file_problems(config)
    assert [(error.code, error.setting) for error in found] == ([] if code is None else [(code, setting)])
    if code is not None:
        with pytest.raises(LoginError) as error:
            options(config, config.url)
        assert str(file) in str(error.value)
        assert SEED[:8] not in str(error.value)


def test_a_folder_in_a_files_place_is_unreadable(tmp_path: Path) -> None:
    assert [error.code for error in file_problems(NatsConfig(nkey=tmp_path))] == ["config.unreadable"]


def test_a_certificate_and_another_ones_key_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, _ = authority.issue("one")
    _, key = authority.issue("two")
    (error,) = file_problems(NatsConfig.model_validate({"tls": {"certificate": certificate, "key": key}}))
    assert (error.setting, error.code) == ("tls.certificate", "config.file_invalid")
