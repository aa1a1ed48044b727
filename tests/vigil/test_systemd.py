"""What systemd hears of the supervisor, and whether it takes our unit."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from vigil import systemd
from vigil.config import VigilConfig
from vigil.service import Service

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "configs" / "systemd" / "vigil.service"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_by_a_datagram(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@vigil-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if abstract else name)
        systemd.tell(systemd.READY, "STATUS=serving 2 streams")
        assert listening.recv(200) == b"READY=1\nSTATUS=serving 2 streams"


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.tell(systemd.ALIVE)


def test_a_systemd_that_does_not_listen_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    with structlog.testing.capture_logs() as logs:
        systemd.tell(systemd.STOPPING)
    assert [(one["event"], one["told"]) for one in logs] == [("cannot tell systemd how we are", "STOPPING=1")]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    unit = tmp_path / "vigil.service"
    unit.write_text(UNIT.read_text().replace("/opt/vigil/bin/vigil", sys.executable))
    told = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    # 10 is a service that may do anything.
    secured = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", unit], capture_output=True, text=True
    )
    assert secured.returncode == 0, secured.stdout[-500:]


def test_the_unit_waits_for_as_long_as_the_supervisor_needs() -> None:
    found = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert found["Type"] == "notify"
    assert int(found["TimeoutStopSec"]) > 10
    assert found["RestartPreventExitStatus"] == "2"


def test_the_supervisor_says_that_it_is_alive_while_its_loop_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    async def look(listening: socket.socket) -> bytes:
        service = Service(VigilConfig.model_validate({"state_dir": tmp_path, "streams": {}}))
        watching = asyncio.create_task(service._look_after())
        try:
            async with asyncio.timeout(10):
                return await asyncio.get_running_loop().sock_recv(listening, 200)
        finally:
            watching.cancel()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as listening:
        listening.bind(str(tmp_path / "notify"))
        assert asyncio.run(look(listening)) == b"WATCHDOG=1"
