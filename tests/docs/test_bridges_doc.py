"""What docs/bridges.md shows works as shown."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from publish.bridges.config import SecretStr, key_of
from publish.bridges.contract import Scene
from publish.bridges.signature import signed
from publish.bridges.topics import Topics, device, places
from vigil.load import parse

TEXT = (Path(__file__).resolve().parents[2] / "docs/bridges.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_verification_tells_ours_from_others() -> None:
    (code,) = blocks("python")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    verify, body, now = namespace["verify"], b'{"a": 1}', int(time.time())
    ours = signed(key_of(SecretStr(SECRET)), "hq-1", now, body)
    assert verify(SECRET, ours, body)
    assert verify(SECRET, {**ours, "webhook-signature": f"v1,AAAA {ours['webhook-signature']}"}, body)
    assert not verify(SECRET, ours, body + b" ")
    assert not verify(SECRET, {**ours, "webhook-id": "hq-2"}, body)
    assert not verify("whsec_" + "A" * 32, ours, body)
    assert not verify(SECRET, signed(key_of(SecretStr(SECRET)), "hq-1", now - 301, body), body)


def test_the_signature_is_that_of_the_specifications_example() -> None:
    """https://github.com/standard-webhooks/standard-webhooks: its libraries' tests have these values."""
    found = signed(key_of(SecretStr(SECRET)), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_shown_config_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "door").write_text(SECRET + "\n")
    monkeypatch.setenv("MQTT_PASSWORD", "x")
    config = parse(text.replace("/run/secrets/door", str(tmp_path / "door")), "bridges.md", tmp_path)
    assert [bridge.kind for bridge in config.bridges.values()] == ["webhook", "mqtt"]


def test_the_shown_sensor_is_one_that_home_assistant_is_told() -> None:
    (text,) = blocks("json")
    told = places(Scene((), {"drive": ("person",)}), (), None, None)
    found = device(Topics("vigil/hq"), "hq", "gate", told, "1.0")
    assert json.loads(text) == found["components"]["drive__person_occupancy"]
