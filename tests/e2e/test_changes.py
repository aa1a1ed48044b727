"""Cameras come and go while the service runs, and what one does to its worker is no affair of its neighbours."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from tests.e2e.conftest import services
from tests.e2e.real import Inbox, Running, wait_for
from vigil.cli import app

HARMFUL = Path(__file__).parent / "harmful"
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(filter(None, (str(HARMFUL), os.environ.get("PYTHONPATH"))))}


@pytest.fixture(scope="module")
def service(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Cameras `a` and `b` in one worker."""
    with services(tmp_path_factory.mktemp("service")) as start:
        yield start({"streams": {"a": camera(street), "b": camera(street)}}, env=ENVIRONMENT)


def camera(street: Path) -> dict[str, Any]:
    """One that waits for a busy machine instead of losing frames, so that every lost frame is one that a change has
    cost, and that is not taken for one that hangs because the machine is busy."""
    return {"url": str(street), "loop": True, "on_full": "block", "read_timeout": 60}


@pytest.fixture(scope="module")
def first_revision(service: Running) -> str:
    revision: str = call(service, "GET", "/api/v1/config")[1]["revision"]
    return revision


@pytest.fixture
def two_cameras(
    service: Running, first_revision: str, subscribe: Callable[[Running], Inbox], street: Path
) -> tuple[Running, Inbox, dict[str, Any]]:
    """The service as it was at first, whatever other tests did; what it says from now on; and a camera's settings."""
    for name in set(service.streams()) - {"a", "b"}:
        call(service, "DELETE", f"/api/v1/streams/{name}")
    edit(service, lambda config: (config.clear(), config.update(service.config)))

    def as_it_was() -> bool:
        told = call(service, "GET", "/api/v1/config")[1]
        return bool(told["valid"]) and told["revision"] == first_revision

    wait_for("the config as it was", as_it_was)
    inbox = subscribe(service)
    wait_for("results of both", lambda: len(inbox.of("a")) > 5 and len(inbox.of("b")) > 5)
    return service, inbox, camera(street)


def call(service: Running, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        service.addresses["http"] + path, data, {"Content-Type": "application/json"}, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read())


def edit(service: Running, change: Callable[[dict[str, Any]], object]) -> None:
    """Edits the config file as an editor does: a new file takes the old one's place."""
    config = yaml.safe_load(service.file.read_text())
    change(config)
    part = service.file.with_suffix(".part")
    part.write_text(yaml.safe_dump(config))
    part.replace(service.file)


def sessions(inbox: Inbox, stream: str) -> list[int]:
    return sorted({frame["session"] for frame in inbox.of(stream)})


def undisturbed(inbox: Inbox, stream: str) -> bool:
    """One session, and every frame of it."""
    frames = inbox.of(stream)
    in_order = [frame["seq"] for frame in frames] == list(range(frames[0]["seq"], frames[0]["seq"] + len(frames)))
    return len(sessions(inbox, stream)) == 1 and in_order


def test_an_edited_config_is_followed_and_only_what_changed_is_touched(
    two_cameras: tuple[Running, Inbox, dict[str, Any]],
) -> None:
    service, inbox, camera = two_cameras
    before = sessions(inbox, "b")

    def first(config: dict[str, Any]) -> None:
        config["streams"]["b"] = {**camera, "fps": 2}
        config["streams"]["c"] = camera

    edit(service, first)
    wait_for("the new stream", lambda: len(inbox.of("c")) > 3)
    wait_for("the changed stream, begun anew", lambda: sessions(inbox, "b") != before)
    wait_for("its results", lambda: len([f for f in inbox.of("b") if f["session"] not in before]) > 3)
    times = [frame["pts"] for frame in inbox.of("b") if frame["session"] not in before]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.4  # 2 a second
    assert {frame["config_rev"] for frame in inbox.of("b")} != {inbox.of("b")[0]["config_rev"]}

    edit(service, lambda config: config["streams"].pop("c"))
    wait_for("it is gone", lambda: "c" not in service.streams())
    wait_for("nothing is measured of it", lambda: 'stream="c"' not in service.get("/metrics"))

    edit(service, lambda config: config["streams"].update(b={"url": "rtsp://cam/1", "fsp": 3}))
    wait_for("the refusal", lambda: not call(service, "GET", "/api/v1/config")[1]["valid"])
    (problem,) = call(service, "GET", "/api/v1/config")[1]["problems"]
    assert (problem["code"], problem["path"]) == ("config.unknown_key", "streams.b.fsp")
    edit(service, lambda config: config["streams"].update(b=camera) or config.update(site="elsewhere"))
    wait_for("the other refusal", lambda: "config.needs_restart" in service.log.read_text())
    seen = len(inbox.of("a"))
    wait_for("the others go on", lambda: len(inbox.of("a")) > seen + 5)
    assert undisturbed(inbox, "a")


def test_another_detector_takes_over_while_the_cameras_stay_connected(
    two_cameras: tuple[Running, Inbox, dict[str, Any]],
) -> None:
    service, inbox, _ = two_cameras
    (before,) = service.children()["detector"]
    edit(service, lambda config: config["detector"].update(image_size=416, confidence=0.6))
    wait_for("the other detector alone", lambda: before.pid not in {p.pid for p in service.children()["detector"]})
    later = {stream: len(inbox.of(stream)) for stream in "ab"}
    wait_for("results", lambda: all(len(inbox.of(stream)) > later[stream] + 10 for stream in "ab"))
    assert len(sessions(inbox, "a")) == len(sessions(inbox, "b")) == 1
    scores = [found["confidence"] for found in inbox.of("a")[-1]["objects"] if found["track_id"] is None]
    assert min(scores, default=1.0) > 0.6
    assert "size=416x" in service.log.read_text().replace('"', "").replace(": ", "=")

    no_model = service.file.with_name("no-model.onnx")
    no_model.write_text("nothing that a runtime knows")
    edit(service, lambda config: config["detector"].update(model=str(no_model)))
    wait_for("the refusal", lambda: not call(service, "GET", "/api/v1/config")[1]["valid"])
    seen = len(inbox.of("a"))
    wait_for("the old one goes on", lambda: len(inbox.of("a")) > seen + 5)
    assert len(sessions(inbox, "a")) == 1


def test_streams_are_asked_for_and_changed_from_the_command_line(
    two_cameras: tuple[Running, Inbox, dict[str, Any]],
) -> None:
    service, inbox, camera = two_cameras

    def vigil(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "vigil.cli", "streams", *arguments, "-c", str(service.file)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def vigil_here(*arguments: str) -> Result:
        """Without a process of its own, which costs more than all that it does."""
        return CliRunner().invoke(app, ["streams", *arguments, "-c", str(service.file)])

    added = vigil("add", "c", "--url", "-", "--set", "loop=true", "--json", stdin=f"{camera['url']}\n")
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["settings"]["loop"] is True
    wait_for("its results", lambda: len(inbox.of("c")) > 3)
    listed = vigil_here("list")
    assert re.search(r"^\s*c\s+live\s", listed.stdout, re.MULTILINE), listed.stdout
    assert vigil_here("remove", "c").exit_code == 0
    wait_for("it is gone", lambda: "c" not in service.streams())
    refused = vigil("change", "c", "--set", "fps=1")
    assert (refused.returncode, "streams.unknown" in refused.stderr) == (1, True)


def test_a_camera_that_crashes_its_worker_is_kept_apart_and_its_neighbours_move_over(
    two_cameras: tuple[Running, Inbox, dict[str, Any]],
) -> None:
    service, inbox, _ = two_cameras
    assert call(service, "POST", "/api/v1/streams?keep=false", {"id": "bad", "url": "crash://x"})[0] == 201
    wait_for("it is kept apart", lambda: "it is kept apart" in service.log.read_text())
    wait_for("it waits", lambda: service.streams()["bad"]["state"] == "failed")
    told = service.streams()["bad"]
    assert (told["reason"], told["retry_in"]) == ("crash", 60.0)
    seen = len(inbox.of("a")), len(inbox.of("b"))
    wait_for("the neighbours go on", lambda: len(inbox.of("a")) > seen[0] + 10 and len(inbox.of("b")) > seen[1] + 10)
    assert len(sessions(inbox, "a")) == len(sessions(inbox, "b")) == 2, "their worker was ended once, and never again"
    assert [s["state"] for s in inbox.status if s["stream"] == "bad"][-1] == "failed"
    assert 'vigil_stream_state{state="failed",stream="bad"} 1.0' in service.get("/metrics")
    assert call(service, "DELETE", "/api/v1/streams/bad?keep=false")[0] == 204
    assert "bad" not in service.streams()
    wait_for("nothing is measured of it", lambda: 'stream="bad"' not in service.get("/metrics"))


def test_a_camera_that_hangs_moves_to_a_worker_of_its_own_and_its_neighbours_notice_nothing(
    two_cameras: tuple[Running, Inbox, dict[str, Any]],
) -> None:
    service, inbox, _ = two_cameras
    hanging = {"id": "stuck", "url": "hang://x", "read_timeout": 0.5, "connect_timeout": 0.5}
    assert call(service, "POST", "/api/v1/streams?keep=false", hanging)[0] == 201
    wait_for("it is kept apart", lambda: "it is kept apart" in service.log.read_text())
    wait_for("the reason", lambda: any(
        status["stream"] == "stuck" and status["reason"] == "hung" for status in inbox.status))  # fmt: skip
    wait_for("it waits, as it hangs there too", lambda: service.streams()["stuck"]["state"] == "failed")
    seen = len(inbox.of("a")), len(inbox.of("b"))
    wait_for("the neighbours go on", lambda: len(inbox.of("a")) > seen[0] + 10 and len(inbox.of("b")) > seen[1] + 10)
    assert undisturbed(inbox, "a") and undisturbed(inbox, "b")


def test_streams_come_and_go_by_api_and_last_if_they_are_to(
    two_cameras: tuple[Running, Inbox, dict[str, Any]],
) -> None:
    service, inbox, camera = two_cameras
    assert call(service, "POST", "/api/v1/streams", {"id": "a", **camera})[0] == 409
    status, refusal = call(service, "POST", "/api/v1/streams", {"id": "c", "url": "rtsp://u:s3cr3t@cam/1", "fpz": 3})
    assert (status, refusal["problems"][0]["code"]) == (422, "config.unknown_key")
    assert call(service, "POST", "/api/v1/streams", {"id": "c", "url": "rtsp://u:${HOME}@cam/1"})[0] == 422
    assert call(service, "POST", "/api/v1/streams", {"id": "c", **camera})[0] == 201
    assert call(service, "POST", "/api/v1/streams?keep=false", {"id": "d", **camera})[0] == 201
    wait_for("both", lambda: len(inbox.of("c")) > 3 and len(inbox.of("d")) > 3)
    status, changed = call(service, "PATCH", "/api/v1/streams/c", {"fps": 5, "url": f"file://{camera['url']}"})
    assert (status, changed["settings"]["fps"]) == (200, 5)
    assert call(service, "DELETE", "/api/v1/streams/b")[0] == 204
    wait_for("it is gone", lambda: "b" not in service.streams())
    assert undisturbed(inbox, "a")

    kept = service.file.with_name("vigil.streams.yaml")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "s3cr3t" not in service.log.read_text()
    assert service.stop() == 0
    again = Running(service.file, ENVIRONMENT)
    try:
        again.wait_started()
        assert set(again.streams()) == {"a", "c"}
        assert call(again, "GET", "/api/v1/streams/c")[1]["settings"]["fps"] == 5
    finally:
        again.kill_all()
