"""From an ONVIF camera on the network to its detections, by pasting what `vigil discover` prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import yaml
from typer.testing import CliRunner

from tests.e2e.real import RtspServer, Running, wait_for
from tests.onvif_device import Offer, OnvifDevice
from vigil.cli import app

SECRET = "s3cr3t/Pa55@%"


def vigil(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vigil.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})


def test_what_is_found_runs_as_pasted(
    rtsp_server: Callable[..., RtspServer], run_service: Callable[..., Running], tmp_path: Path
) -> None:
    """The camera is found by multicast on loopback, says an address that leads nowhere, and wants its password."""
    rtsp = rtsp_server(f"viewer:{SECRET}")
    offers = [
        Offer("main", 3840, 2160, f"rtsp://192.0.2.64:{rtsp.port}/none"),
        Offer("second", 1280, 720, f"rtsp://192.0.2.64:{rtsp.port}/gate"),
    ]
    login = {"VIGIL_ONVIF_USER": "viewer", "VIGIL_ONVIF_PASSWORD": SECRET}
    with OnvifDevice(offers, password=SECRET, advertised_host="192.0.2.64") as device:
        found = vigil("discover", "--interface", "lo", "--timeout", "3", env=login)
        known = json.loads(CliRunner().invoke(app, ["discover", "--host", device.host, "--json"], env=login).stdout)
    assert found.returncode == 0, found.stderr
    assert "searching" in found.stderr
    assert (known[0]["manufacturer"], known[0]["streams"][0]["profile"]["token"]) == ("Tests", "second")
    assert SECRET not in found.stdout + found.stderr + json.dumps(known)

    pasted = tmp_path / "found.yaml"
    pasted.write_text(found.stdout)
    password = {"CAM_PASSWORD": quote(SECRET, safe="")}
    checked = CliRunner().invoke(app, ["check", "--probe", "--json", str(pasted)], env=password)
    assert checked.exit_code == 0, checked.output
    assert [probe["stream"] for probe in json.loads(checked.stdout)["probes"]] == ["front-door"]

    service = run_service(yaml.safe_load(found.stdout), password)
    wait_for("frames", lambda: service.streams()["front-door"]["frames"] > 5)
    assert service.streams()["front-door"]["state"] == "live"
    assert service.stop() == 0
    assert SECRET not in service.log.read_text()


def test_nobody_there_is_told_with_what_to_check_and_is_no_failure() -> None:
    done = CliRunner().invoke(app, ["discover", "--interface", "lo", "--timeout", "1", "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, [])
    for hint in ("ONVIF switched on", "same VLAN", "multicast", "--host"):
        assert hint in done.stderr
