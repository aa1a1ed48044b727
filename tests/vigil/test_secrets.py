"""What is said about a config does not show the passwords in it, wherever it is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from vigil.cli import main

# What makes trouble in a URL, between two parts that must not be seen alone either.
PARTS = ("s3cr3t", "Pa55")
IN_URL = quote("@:/#%".join(PARTS), safe="")


@pytest.mark.parametrize(
    "content",
    [
        f"streams: {{gate: {{url: 'rtsp://viewer:{IN_URL}@127.0.0.1:1/x'}}}}",
        f"streams: {{gate: {{url: 'gopher://viewer:{IN_URL}@127.0.0.1:1/x'}}}}",
        f"streams: {{gate: {{url: 'rtsp://viewer:{IN_URL}@127.0.0.1:1/x', fps: 0, transport: carrier}}}}",
        f"streams: {{gate: {{url: ['rtsp://viewer:{IN_URL}@127.0.0.1:1/x']}}}}",
        f"streams: {{gate: {{ur: 'rtsp://viewer:{IN_URL}@127.0.0.1:1/x'}}}}",
        f"streams: {{gate: {{url: 'rtsp://viewer:{IN_URL}@127.0.0.1:1/x'",
        f"streams: {{gate: 'rtsp://viewer:{IN_URL}@127.0.0.1:1/x'}}",
        "streams: {gate: {url: 'rtsp://viewer:${CAMERA_PASSWORD}@127.0.0.1:1/x', loop: perhaps}}",
        "streams: {gate: {url: 'rtsp://viewer:${CAMERA_PASSWORD}@[127.0.0.1:1/x'}}",
        "nats: {url: 'nats://vigil:${CAMERA_PASSWORD}@127.0.0.1:1', port: none}\nstreams: {gate: {url: gate.mp4}}",
        "http: {token: '${CAMERA_PASSWORD}', port: none}\nstreams: {gate: {url: gate.mp4}}",
        "http: {host: 0.0.0.0, token: ['${CAMERA_PASSWORD}']}\nstreams: {gate: {url: gate.mp4}}",
    ],
    ids=lambda content: content[:48],
)  # fmt: skip
def test_what_is_said_about_a_config_does_not_show_its_passwords(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", IN_URL)
    file = tmp_path / "vigil.yaml"
    file.write_text(content)
    for more in (["--probe"], ["--probe", "--json"]):
        monkeypatch.setattr(sys, "argv", ["vigil", "check", str(file), *more])
        with pytest.raises(SystemExit) as end:
            main()
        said = "".join(capfd.readouterr())
        assert end.value.code in (1, 2)
        assert said
        assert [part for part in PARTS if part in said] == []
