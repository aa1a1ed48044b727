"""Starts real SRT senders for tests."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("srt_sender.py")
_CHECK = (
    "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst; Gst.init(None); "
    "import sys; sys.exit(not all(map(Gst.ElementFactory.find, ('srtsink', 'mpegtsmux', 'h264parse', 'qtdemux'))))"
)


def need_sender() -> None:
    """Skips the test where there is no SRT sender."""
    if not Path("/usr/bin/python3").exists() or subprocess.run(
        ["/usr/bin/python3", "-c", _CHECK], stderr=subprocess.DEVNULL, check=False
    ).returncode:  # fmt: skip
        pytest.skip("no SRT sender: apt-get install python3-gi gstreamer1.0-plugins-{good,bad}")


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class SrtSender:
    """A context manager: a sender that listens on `port`, or calls it; killed and started again as an encoder is."""

    def __init__(self, file: Path, mode: str, port: int, **secrets: str) -> None:
        self._arguments = [str(file), mode, f"127.0.0.1:{port}"]
        self._secrets = "".join(f"{name}={value}\n" for name, value in secrets.items())
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> SrtSender:
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(SCRIPT), *self._arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(self._secrets)
        self.process.stdin.close()
        assert json.loads(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None
