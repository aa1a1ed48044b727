"""`vigil plan` measures the streams that answer, names those that do not, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from tests.e2e.real import wait_for


def test_a_configs_cameras_are_measured(tmp_path: Path, street: Path) -> None:
    file = tmp_path / "vigil.yaml"
    file.write_text(yaml.safe_dump({
        "site": "plan-test", "detector": {"model": "starter", "image_size": 320},
        "streams": {
            "gate": {"url": str(street), "loop": True, "fps": 2},
            "gone": {"url": "rtsp://viewer:hunter2@127.0.0.1:9/none", "connect_timeout": 2},
        },
    }))  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "vigil.cli", "plan", str(file), "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["streams"], told["fits"]) == (1, True)
    stages = {stage["name"]: stage for stage in told["stages"]}
    assert stages["decode"]["frames_per_second"] == pytest.approx(10)
    assert stages["infer"]["frames_per_second"] == pytest.approx(2)
    assert stages["infer"]["seconds"] > stages["letterbox"]["seconds"] > 0
    assert stages["track, publish, the rest"]["seconds"] > 0
    (cpu,) = told["resources"]
    assert cpu["utilisation"] == pytest.approx(sum(stage["cores"] for stage in told["stages"]) / told["cores"])
    assert set(told["silent"]) == {"gone"}
    assert "hunter2" not in done.stdout + done.stderr
    wait_for("its processes end", lambda: not [
        process for process in psutil.process_iter(["cmdline"])
        if "vigil-plan-" in " ".join(process.info["cmdline"] or [])
    ])  # fmt: skip


def test_a_size_that_is_none_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vigil.cli", "plan", "--size", "huge"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "is not like 1920x1080" in done.stderr
