"""The config file by HTTP: shown without its secrets, checked, and replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx import Response
from starlette.testclient import TestClient

from inference.errors import ModelError
from publish.http import create_app
from tests.publish.local import local_client
from vigil import document
from vigil import exposed as exposing
from vigil.board import StreamView
from vigil.config import VigilConfig
from vigil.exposed import exposed, redacted_places
from vigil.service import Service
from vigil.settings import Settings

TEXT = """\
# Before it moved: rtsp://admin:0ldpass@10.0.0.3/x
site: hq
streams:
  gate:
    url: rtsp://viewer:hunter2@10.0.0.12/stream1?token=abc123  # the gate
    fps: 5
  yard: {url: "rtsp://${YARD_USER:-me}:${YARD_PASSWORD}@10.0.0.13/s"}
"""
YAML = {"Content-Type": "application/yaml"}
SECRETS = ("0ldpass", "hunter2", "abc123")


class Quiet(Service):
    """Starts no processes."""

    async def apply(self, config: VigilConfig) -> None:
        self.refuse_fixed(config)
        if config.detector.model == "broken.onnx":
            raise ModelError("broken.onnx cannot be read")
        self.config = config
        self.streams.clear()
        self.streams.update({name: StreamView() for name in config.streams})


class House:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "vigil.yaml"
        self.file.write_text(TEXT + f"state_dir: {folder / 'state'}\n")
        self.file.chmod(0o640)
        kept = Settings.read(self.file)
        self.service = Quiet(kept.config(), kept)
        self.service.streams.update({name: StreamView() for name in self.service.config.streams})
        self.client: TestClient = local_client(create_app(self.service, self.service.config.http))

    def get(self) -> Response:
        return self.client.get("/api/v1/config")

    def put(self, text: str, etag: str | None = None) -> Response:
        known = self.get().headers["etag"] if etag is None else etag
        return self.client.put("/api/v1/config", content=text, headers={**YAML, "If-Match": known})

    @property
    def text(self) -> str:
        return self.file.read_text()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("YARD_PASSWORD", "fr0mEnv")
    return House(tmp_path)


def codes(answer: Response) -> set[str]:
    return {one["code"] for one in answer.json()["problems"]}


def test_the_text_is_shown_with_its_comments_and_without_its_secrets(house: House) -> None:
    told = house.get()
    text = told.json()["text"]
    assert not [secret for secret in (*SECRETS, "fr0mEnv") if secret in told.text]
    assert "# the gate" in text and "rtsp://${YARD_USER:-me}:${YARD_PASSWORD}@10.0.0.13/s" in text
    assert yaml.safe_load(text)["streams"]["gate"]["url"] == "rtsp://viewer:***@10.0.0.12/stream1?token=***"


def test_a_change_is_written_and_in_force(house: House) -> None:
    changed = house.text.replace("fps: 5", "fps: 2")
    answer = house.put(changed)
    assert answer.status_code == 200, answer.text
    assert (house.text, house.service.config.streams["gate"].fps) == (changed, 2)
    assert answer.headers["etag"] == house.get().headers["etag"]
    assert answer.json()["revision"] == house.service.config.revision
    assert stat.S_IMODE(house.file.stat().st_mode) == 0o640
    assert [file.name for file in house.file.parent.iterdir() if "part" in file.name] == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("fps: 5", "fps: none", "config.value"),
        ("fps: 5", "fsp: 5", "config.unknown_key"),
        ("fps: 5", "fps: [", "config.syntax"),
        ("site: hq", "site: elsewhere", "config.needs_restart"),
        ("hunter2", "***", "config.redacted_value"),
        ("fps: 5", "fps: ${HOME}", "config.new_reference"),
        ("10.0.0.13/s", "10.0.0.13/${file:/etc/passwd}", "config.new_reference"),
    ],
)
def test_what_does_not_hold_changes_nothing(house: House, old: str, new: str, code: str) -> None:
    before, config = house.text, house.service.config
    answer = house.put(before.replace(old, new))
    assert (answer.status_code, answer.json()["code"], codes(answer)) == (422, "config.invalid", {code})
    assert (house.text, house.service.config) == (before, config)


def test_a_model_that_cannot_be_loaded_changes_nothing(house: House) -> None:
    before = house.text
    answer = house.put(before + "detector: {model: broken.onnx}\n")
    assert answer.status_code == 422 and house.text == before


def test_an_edit_made_meanwhile_is_not_lost(house: House) -> None:
    etag = house.get().headers["etag"]
    house.file.write_text(house.text + "# mine\n")
    answer = house.put(house.text.replace("fps: 5", "fps: 2"), etag)
    assert (answer.status_code, answer.json()["code"]) == (412, "config.edited")
    assert house.text.endswith("# mine\n")


def test_without_saying_what_it_is_a_change_of_nothing_is_changed(house: House) -> None:
    answer = house.client.put("/api/v1/config", content=house.text, headers=YAML)
    assert (answer.status_code, answer.json()["code"]) == (428, "config.no_etag")


def test_a_file_that_cannot_be_written_leaves_all_as_it_was(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Settings, "write", full)
    config = house.service.config
    answer = house.put(house.text.replace("fps: 5", "fps: 2"))
    assert (answer.status_code, answer.json()["code"]) == (409, "config.unwritable")
    assert "No space left" in answer.json()["detail"]
    assert house.service.config == config


def test_checking_tells_every_problem_with_its_line_and_changes_nothing(house: House) -> None:
    text = house.text.replace("fps: 5", "fps: none\n    tranport: tcp")
    told = house.client.post("/api/v1/config/validate", content=text, headers=YAML).json()
    assert (told["ok"], {one["path"]: one["line"] for one in told["problems"]}) == (
        False, {"streams.gate.fps": 6, "streams.gate.tranport": 7},
    )  # fmt: skip
    told = house.client.post("/api/v1/config/validate", content=house.text + "log: {level: debug}", headers=YAML).json()
    assert (told["ok"], told["needs_restart"]) == (True, [])
    moved = house.text.replace("site: hq", "site: elsewhere")
    assert house.client.post("/api/v1/config/validate", content=moved, headers=YAML).json()["needs_restart"] == ["site"]


def test_it_must_say_that_it_is_yaml(house: House) -> None:
    answer = house.client.post("/api/v1/config/validate", content=house.text, headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["code"]) == (415, "http.media_type")


@pytest.mark.parametrize("text", ["[" * 1_500, "{a: " * 1_500, "a: &a [x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12))])  # fmt: skip
def test_a_text_that_would_take_for_ever_is_refused(house: House, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (document, exposing):
        monkeypatch.setattr(module, "MOST_NODES", 5_000)
    answer = house.client.post("/api/v1/config/validate", content=text, headers=YAML)
    assert answer.status_code in (200, 422) and (answer.status_code == 422 or not answer.json()["ok"])


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("http: {token: hunter2}", 'http: {token: "***"}'),
        ("http: {token: '${T}', read_token: \"${file:/run/t}\"}", None),
        ("nats: {url: 'nats://me:hunter2@h', password: |\n  hunter2\n}", None),
        ("bridges: {a: {url: 'https://hooks.example/T/hunter2', headers: {X: hunter2}}}",
         'bridges: {a: {url: "***", headers: {X: "***"}}}'),
        ("media: {s3: {secret_key: hunter2, access_key: hunter2}}",
         'media: {s3: {secret_key: "***", access_key: "***"}}'),
        ("# url: srt://h:9000?passphrase=hunter2\na: 1", "# url: srt://h:9000?passphrase=***\na: 1"),
        ("url: >\n  rtsp://a:hunter2@c/d\nfps: 3", 'url: "rtsp://a:***@c/d"\nfps: 3'),
        ("url: 'rtsp://a:pre-${T}-hunter2@h/x'", 'url: "rtsp://a:***@h/x"'),
    ],
)  # fmt: skip
def test_what_is_shown_has_no_secret_and_means_the_same(written: str, shown: str | None) -> None:
    told = exposed(written)
    if shown is not None:
        assert told == shown
    if told is not None and "hunter2" in written:
        assert "hunter2" not in told
    if "hunter2" not in written:
        assert told == written
    elif told is not None and not written.startswith("#"):
        assert redacted_places(told), "and it is known again when it comes back"


def test_what_is_no_yaml_is_not_shown() -> None:
    assert exposed("http: {token: hunter2") is None


def test_where_there_is_no_file_there_is_no_text(tmp_path: Path) -> None:
    config = VigilConfig.model_validate({"state_dir": tmp_path, "streams": {"gate": {"url": "rtsp://h/1"}}})
    client = local_client(create_app(Quiet(config), config.http))
    assert client.get("/api/v1/config").json()["text"] is None
    answer = client.put("/api/v1/config", content="streams: {}", headers={**YAML, "If-Match": '"x"'})
    assert (answer.status_code, answer.json()["code"]) == (409, "config.fixed")


def test_a_link_to_the_file_stays_one(house: House, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(house.file)
    Settings(link, "streams: {}\n").write()
    assert link.is_symlink() and house.text == "streams: {}\n"
    assert os.readlink(link) == str(house.file)
