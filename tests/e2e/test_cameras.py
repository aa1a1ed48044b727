"""Real RTSP cameras: they come, go, refuse passwords; what they are told in secret stays secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil

from tests.e2e.real import Inbox, RtspServer, Running, wait_for

SECRET = "s3cr3t-Pa55"


def states(inbox: Inbox, stream: str) -> list[str]:
    return [status["state"] for status in inbox.status if status["stream"] == stream]


def test_a_camera_that_reboots_is_live_again_in_a_new_session_and_its_tracks_ended(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], rtsp_server: Callable[..., RtspServer]
) -> None:
    camera = rtsp_server()
    service = run_service({"streams": {"gate": {"url": camera.url(), "read_timeout": 2, "connect_timeout": 2}}})
    inbox = subscribe(service)
    wait_for("frames over RTSP", lambda: len(inbox.of("gate")) > 20)
    first = inbox.of("gate")[0]["session"]
    camera.kill()
    wait_for("the loss is told", lambda: "backoff" in states(inbox, "gate"), 10)
    camera.start()
    wait_for("a new session", lambda: any(frame["session"] > first for frame in inbox.of("gate")), 20)
    ended = wait_for("the old tracks' ends", lambda: [e for e in inbox.events if e["reason"] == "session_ended"], 5)
    assert {event["session"] for event in ended} == {first}
    order = [(frame["session"], frame["seq"]) for frame in inbox.of("gate")]
    assert order == sorted(order)


def test_credentials_stay_secret_everywhere(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], rtsp_server: Callable[..., RtspServer]
) -> None:
    camera = rtsp_server(f"viewer:{SECRET}")
    streams = {
        "gate": {"url": camera.url("viewer:${GATE_PASSWORD}")},
        "wrong": {"url": camera.url(f"viewer:{SECRET}-wrong")},
        "away": {"url": f"rtsp://viewer:{SECRET}@127.0.0.1:1/x"},
    }
    service = run_service({"streams": streams, "log": {"format": "json", "level": "debug"}}, {"GATE_PASSWORD": SECRET})
    inbox = subscribe(service)
    wait_for("frames over RTSP", lambda: len(inbox.of("gate")) > 5)
    wait_for("the refusals", lambda: {"backoff"} <= {s.get("state") for s in service.streams().values()})
    wait_for("the reasons", lambda: "reason" in service.streams()["wrong"] and "reason" in service.streams()["away"])
    told = service.streams()
    assert told["wrong"]["reason"] == "auth"
    assert told["away"]["reason"] == "refused"
    titles = [" ".join(p.cmdline()) for p in psutil.Process(service.process.pid).children(recursive=True)]
    shown = [service.get("/api/v1/streams"), service.get("/metrics"), *titles, *(raw.decode() for raw in inbox.raw)]
    assert service.stop() == 0
    shown.append(service.log.read_text())
    assert not [text for text in shown if SECRET in text]


def test_probing_tells_what_a_camera_sends_or_why_not(rtsp_server: Callable[..., RtspServer], tmp_path: Any) -> None:
    camera = rtsp_server(f"viewer:{SECRET}")
    file = tmp_path / "cameras.yaml"
    file.write_text(json.dumps({"streams": {
        "gate": {"url": camera.url(f"viewer:{SECRET}")}, "wrong": {"url": camera.url("viewer:no")},
    }}))  # fmt: skip
    command = [sys.executable, "-m", "vigil.cli", "check", str(file), "--probe", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    probes = {probe["stream"]: probe for probe in json.loads(done.stdout)["probes"]}
    assert probes["gate"]["description"] == "h264 320x240 10 fps"
    assert (probes["wrong"]["ok"], probes["wrong"]["reason"]) == (False, "auth")
    assert SECRET not in done.stdout + done.stderr
