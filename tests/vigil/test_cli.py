"""The command line, as a script sees it: exit codes and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from publish.outbox import FILE, Durable, Outbox
from tests.vigil.command import vigil

ROOT = Path(__file__).resolve().parents[2]
GOOD = "site: hq\nstreams: {gate: {url: 'rtsp://u:hunter2@10.0.0.12/1'}}\n"
BAD = "site: HQ\nstreams:\n  gate: {url: 'rtsp://u:hunter2@10.0.0.12/1', fsp: 5}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "vigil.yaml"


def test_a_valid_config_is_exit_code_0(config: Path) -> None:
    """In a process of its own, as users start it."""
    config.write_text(GOOD)
    command = [sys.executable, "-m", "vigil.cli", "check", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
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


def test_what_waits_in_the_outbox_is_shown(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    config.write_text(f"{GOOD}state_dir: {state}\n")
    none = vigil("outbox", "-c", str(config))
    assert none.returncode == 1
    assert "there is no outbox" in none.stderr
    with closing(Outbox.open(state / FILE, 1)) as outbox:
        assert "Nothing waits." in vigil("outbox", "-c", str(config)).stdout
        outbox.append([Durable("vigil.hq.events.gate.track.started", {}, b'{"n": 1}', begins="x")] * 2)
    shown = vigil("outbox", "-c", str(config), "--oldest", "1").stdout
    assert "2 messages wait" in shown
    assert '{"n": 1}' in shown
    assert "1 tracks and visits have begun" in shown
    told = json.loads(vigil("outbox", "-c", str(config), "--json").stdout)
    assert (told["messages"], told["subjects"]) == (2, {"vigil.hq.events.gate.track.started": 2})


def test_what_documents_the_messages_is_written_to_a_folder(tmp_path: Path) -> None:
    done = vigil("schema", "--messages", str(tmp_path / "messages"))
    assert done.returncode == 0
    for file in ("asyncapi.yaml", "schemas/event.json", "schemas/control.streams.add.request.json"):
        assert (tmp_path / "messages" / file).read_text() == (ROOT / "docs" / "messages" / file).read_text()


@pytest.mark.parametrize(
    ("more", "words"), [((), "cannot write"), (("--message", "event"), "leave --message out")]
)  # fmt: skip
def test_a_folder_that_cannot_be_written_is_exit_code_2(tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    (tmp_path / "file").touch()
    done = vigil("schema", "--messages", str(tmp_path / "file" / "messages"), *more)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
