"""Sources on real RTSP and RTMP servers: what they deliver, what they refuse, how a stall shows and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from tests.e2e.real import Inbox, RtspServer, Running, wait_for
from tests.ingest.certificate import self_signed

SECRET = "s3cr3t-Pa55"
Camera = Callable[..., RtspServer]


def read(url: str, count: int = 4, **settings: Any) -> str:
    """What a camera says it is, after so many frames."""
    with open_source(SourceConfig(url=url, **settings)) as source:
        assert len(list(islice(source.frames(), count))) == count
        return source.description


def refusal(url: str, **settings: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(url, **settings)
    assert SECRET not in str(caught.value)
    return caught.value


def test_a_camera_is_read_over_both_transports_and_its_wrong_paths_are_not_found(rtsp_server: Camera) -> None:
    camera = rtsp_server()
    for transport in ("auto", "tcp", "udp"):
        assert read(camera.url(), transport=transport) == "h264 320x240 10 fps"
    assert refusal(camera.url() + "/nowhere").reason is Reason.NOT_FOUND


@pytest.mark.parametrize(("offered", "refused"), [("tcp", "udp"), ("udp", "tcp")])
def test_a_camera_with_one_transport_is_read_by_auto_and_told_by_the_other(
    rtsp_server: Camera, offered: str, refused: str
) -> None:
    camera = rtsp_server(options=["--transport", offered])
    assert read(camera.url())
    error = refusal(camera.url(), transport=refused)
    assert error.reason is Reason.REFUSED
    assert f"does not send over {refused}: set `transport: auto`" in error.detail


@pytest.mark.parametrize("method", [[], ["--digest"]], ids=["basic", "digest"])
def test_logins_in_clear_and_as_a_digest(rtsp_server: Camera, method: list[str]) -> None:
    camera = rtsp_server(f"viewer:{SECRET}", method)
    assert read(camera.url(f"viewer:{SECRET}"))
    for login in (None, f"viewer:{SECRET}-wrong", f"nobody:{SECRET}"):
        assert refusal(camera.url(login)).reason is Reason.AUTH


def test_an_encrypted_camera_and_its_own_certificate(rtsp_server: Camera, tmp_path: Path) -> None:
    camera = rtsp_server(f"viewer:{SECRET}", ["--tls", str(self_signed(tmp_path))])
    url = camera.url(f"viewer:{SECRET}")
    error = refusal(url)
    assert error.reason is Reason.TLS
    assert "set `tls_verify: false`" in error.detail
    assert read(url, tls_verify=False)
    assert refusal(url.replace("rtsps:", "rtsp:")).reason in (Reason.CORRUPT, Reason.REFUSED, Reason.LOST)


def test_an_address_without_encryption_is_told_from_a_bad_certificate(rtsp_server: Camera) -> None:
    error = refusal(rtsp_server().url().replace("rtsp:", "rtsps:"), tls_verify=False)
    assert error.reason is Reason.TLS
    assert "answers, but not with TLS" in error.detail


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_camera_that_falls_silent_times_out_once_and_not_twice_as_late(rtsp_server: Camera, transport: str) -> None:
    camera = rtsp_server()
    with open_source(SourceConfig(url=camera.url(), transport=transport, read_timeout=1.5)) as source:
        frames = source.frames()
        list(islice(frames, 5))
        camera.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            list(frames)
    assert caught.value.reason is Reason.TIMEOUT
    assert 1.4 < time.monotonic() - began < 2.8
    with pytest.raises(SourceError) as caught:
        read(camera.url(), transport=transport, connect_timeout=0.7)
    assert caught.value.reason is Reason.TIMEOUT


def states(inbox: Inbox) -> list[tuple[str, str | None]]:
    return [(status["state"], status["reason"]) for status in inbox.status]


def test_a_pause_is_a_stall_and_its_end_goes_on_in_the_same_session(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], rtsp_server: Camera
) -> None:
    camera = rtsp_server()
    service = run_service({"streams": {"gate": {"url": camera.url(), "read_timeout": 12}}})
    inbox = subscribe(service)
    wait_for("frames over RTSP", lambda: len(inbox.of("gate")) > 10)
    session = inbox.of("gate")[-1]["session"]
    camera.process.send_signal(signal.SIGSTOP)
    wait_for("the stall is told", lambda: ("stalled", "stalled") in states(inbox), 12)
    assert service.streams()["gate"]["state"] == "stalled"
    assert 'vigil_stream_state{state="stalled",stream="gate"} 1.0' in service.get("/metrics")
    camera.process.send_signal(signal.SIGCONT)
    wait_for("it is live again", lambda: states(inbox)[-1] == ("live", None), 10)
    assert inbox.of("gate")[-1]["session"] == session
    assert not [state for state, _ in states(inbox) if state in ("backoff", "connecting")]


SERVE_RTMP = """
import sys, time, av
with av.open(sys.argv[1]) as clip, av.open(
    sys.argv[2], "w", format="flv", options={"listen": "1", "rtmp_live": "live"}
) as target:
    source = clip.streams.video[0]
    stream = target.add_stream_from_template(source)
    began = time.monotonic()
    for packet in clip.demux(source):
        if packet.dts is not None:
            time.sleep(max(0.0, began + float(packet.dts * packet.time_base) / 4 - time.monotonic()))
            packet.stream = stream
            target.mux(packet)
"""


@pytest.fixture
def rtmp(street: Path) -> Iterator[str]:
    """FFmpeg's own RTMP server, which plays the street to one client at four times its speed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/street"
    process = subprocess.Popen([sys.executable, "-c", SERVE_RTMP, str(street), url], stderr=subprocess.DEVNULL)
    try:
        yield url
    finally:
        process.kill()
        process.wait()


def test_rtmp(rtmp: str) -> None:
    def listens() -> bool:
        table = Path("/proc/net/tcp").read_text()
        return f":{int(rtmp.split(':')[2].split('/')[0]):04X} 00000000:0000 0A" in table

    wait_for("the server listens", listens)
    assert read(rtmp, 20).startswith("h264 320x240")


def test_connections_leave_no_descriptor_and_no_thread_behind(rtsp_server: Camera) -> None:
    camera = rtsp_server()
    read(camera.url(), 1)
    before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    for _ in range(20):
        refusal(camera.url() + "/nowhere")
        refusal(camera.url().replace("rtsp:", "rtsps:"))
    for _ in range(3):
        read(camera.url(), 1)
    assert (len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))) == before
