"""Real RTSP cameras: they come, go, refuse passwords; what they are told in secret stays secret."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.e2e.real import Inbox, RtspServer, Running, wait_for

SECRET = "s3cr3t-Pa55"


def states(inbox: Inbox, stream: str) -> list[str]:
    return [status["state"] for status in inbox.status if status["stream"] == stream]


def test_a_pause_is_a_stall_in_the_same_session_and_a_reboot_a_new_one_in_which_old_tracks_have_ended(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], rtsp_server: Callable[..., RtspServer]
) -> None:
    camera = rtsp_server()
    service = run_service({"streams": {"gate": {"url": camera.url(), "read_timeout": 10, "connect_timeout": 2}}})
    inbox = subscribe(service)
    wait_for("frames over RTSP", lambda: len(inbox.of("gate")) > 20)
    first = inbox.of("gate")[0]["session"]
    before = len(inbox.status)
    camera.process.send_signal(signal.SIGSTOP)
    wait_for("the stall is told", lambda: "stalled" in states(inbox, "gate"))
    assert service.streams()["gate"]["state"] == "stalled"
    assert 'vigil_stream_state{state="stalled",stream="gate"} 1.0' in service.get("/metrics")
    camera.process.send_signal(signal.SIGCONT)
    wait_for("it is live again", lambda: states(inbox, "gate")[-1] == "live")
    assert inbox.of("gate")[-1]["session"] == first
    assert [(status["state"], status["reason"]) for status in inbox.status[before:]] == [
        ("stalled", "stalled"), ("live", None)
    ]  # fmt: skip
    camera.kill()
    wait_for("the loss is told", lambda: "backoff" in states(inbox, "gate"))
    camera.start()
    wait_for("a new session", lambda: any(frame["session"] > first for frame in inbox.of("gate")))
    ended = wait_for("the old tracks' ends", lambda: [e for e in inbox.events if e["reason"] == "session_ended"])
    assert {event["session"] for event in ended} == {first}
    order = [(frame["session"], frame["seq"]) for frame in inbox.of("gate")]
    assert order == sorted(order)


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
