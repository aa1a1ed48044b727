"""The command line, as a script sees it: exit codes and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = "site: hq\nstreams: {gate: {url: 'rtsp://u:hunter2@10.0.0.12/1'}}\n"
BAD = "site: HQ\nstreams:\n  gate: {url: 'rtsp://u:hunter2@10.0.0.12/1', fsp: 5}\n"


def vigil(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vigil.cli", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "vigil.yaml"


def test_a_valid_config_is_exit_code_0(config: Path) -> None:
    config.write_text(GOOD)
    done = vigil("check", str(config))
    assert done.returncode == 0
    assert "the config is valid (1 streams, site hq)" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_bad_config_is_exit_code_2_and_one_message(config: Path) -> None:
    config.write_text(BAD)
    done = vigil("check", str(config))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {config}: 2 problems\n")
    assert "line 3: streams.gate.fsp: is not a known key" in done.stderr
    assert "did you mean 'fps'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_json_tells_the_problems_to_a_script(config: Path) -> None:
    config.write_text(BAD)
    done = vigil("check", "--json", str(config))
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["ok"] is False
    assert [(problem["path"], problem["line"]) for problem in told["problems"]] == [
        ("site", 1), ("streams.gate.fsp", 3),
    ]  # fmt: skip
    assert {"code", "path", "line", "value", "message", "mend"} == set(told["problems"][0])


def test_json_of_a_valid_config_is_ok(config: Path) -> None:
    config.write_text(GOOD)
    done = vigil("check", "--json", str(config))
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"ok": True, "problems": [], "probes": []}


def test_a_missing_config_is_exit_code_2(config: Path) -> None:
    done = vigil("check", str(config))
    assert done.returncode == 2
    assert "No such file" in done.stderr


def test_a_camera_that_cannot_be_probed_is_exit_code_1(config: Path) -> None:
    (config.parent / "notes.mp4").write_text("no video\n" * 100)
    config.write_text("streams: {gate: {url: notes.mp4}}")
    done = vigil("check", "--probe", "--json", str(config))
    assert done.returncode == 1
    probe = json.loads(done.stdout)["probes"][0]
    assert (probe["stream"], probe["ok"], probe["reason"]) == ("gate", False, "corrupt")


@pytest.mark.parametrize(("arguments", "title"), [((), "VigilConfig"), (("--message", "event"), "TrackEvent")])
def test_schemas_are_printed_as_json(arguments: tuple[str, ...], title: str) -> None:
    done = vigil("schema", *arguments)
    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == title


def test_an_unknown_message_is_exit_code_2() -> None:
    done = vigil("schema", "--message", "gossip")
    assert done.returncode == 2
    assert "is not one of frame, event, status" in " ".join(done.stderr.split())
