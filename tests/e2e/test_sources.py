"""Sources on real RTSP and RTMP servers: what they deliver, what they refuse, how a stall shows and ends."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from tests.e2e.real import Inbox, RtspServer, Running, wait_for
from tests.ingest.certificate import self_signed
from tests.ingest.clips import encoded, write
from tests.ingest.servers import chunks, endless, http_server

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


def test_a_reader_that_is_too_slow_sees_newer_pictures_and_not_ever_older_ones(rtsp_server: Camera) -> None:
    """Over TCP, which loses none by itself."""
    pause = threading.Event()
    with open_source(SourceConfig(url=rtsp_server().url(), transport="tcp")) as source:
        offsets: list[float] = []
        ends = time.monotonic() + 9
        for frame in source.frames():
            assert frame.time is not None
            offsets.append(time.monotonic() - frame.time)
            if time.monotonic() > ends:
                break
            pause.wait(0.5)  # ten pictures come in two of these
        assert max(offsets) - min(offsets) < 5
        assert source.packets.late > 20 and source.packets.broken == 0


@pytest.mark.parametrize("method", [[], ["--digest"]], ids=["basic", "digest"])
def test_logins_in_clear_and_as_a_digest(rtsp_server: Camera, method: list[str]) -> None:
    camera = rtsp_server(f"viewer:{SECRET}", method)
    assert read(camera.url(f"viewer:{SECRET}"))
    for login in (None, f"viewer:{SECRET}-wrong", f"nobody:{SECRET}"):
        assert refusal(camera.url(login)).reason is Reason.AUTH


@pytest.mark.parametrize("settings", [{}, {"fps": 2}])
def test_key_frames_that_come_in_parts_are_whole_pictures(
    rtsp_server: Camera, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """The server repeats the parameter sets before each slice, as some cameras do."""
    del rtsp_server  # skips where there is none
    clip = tmp_path / "sliced.mp4"
    write(clip, format="mp4", frames=60, options={"preset": "ultrafast", "x264-params": "slices=4"})
    with open_source(SourceConfig(url=str(clip))) as file:
        pictures = [frame.to_ndarray(format="gray") for frame in file.frames()]
    server = RtspServer("gate", clip)
    try:
        with open_source(SourceConfig(url=server.url(), **settings)) as camera:
            for frame in islice(camera.frames(), 25):
                seen = frame.to_ndarray(format="gray")
                assert any(np.array_equal(seen, picture) for picture in pictures)
    finally:
        server.kill()


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
    with open_source(SourceConfig(url=camera.url(), transport=transport, read_timeout=2.5)) as source:
        frames = source.frames()
        list(islice(frames, 5))
        camera.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            list(frames)
    assert caught.value.reason is Reason.TIMEOUT
    assert 2 < time.monotonic() - began < 4.8
    with pytest.raises(SourceError) as caught:
        read(camera.url(), transport=transport, connect_timeout=0.7)
    assert caught.value.reason is Reason.TIMEOUT


def test_a_camera_that_switches_its_size_stays_one_session_and_loses_no_frame(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox]
) -> None:
    """Letterbox and ring slots follow: boxes are within the picture that they are of."""
    sizes = [(640, 360), (320, 240), (352, 640), (640, 360)]
    clip = b"".join(
        encoded(frames=20, size=size, first_pts=20 * number, options={"preset": "ultrafast", "tune": "zerolatency"})
        for number, size in enumerate(sizes)
    )
    stop = threading.Event()
    with http_server({"/live": endless(chunks(clip, 100 * 188), "video/mp2t", stop, 0.02)}) as server:
        service = run_service({"streams": {"gate": {"url": f"{server}/live", "read_timeout": 30}}})
        inbox = subscribe(service)

        def balance() -> dict[str, float]:
            lines = (line for line in service.get("/metrics").splitlines() if line.startswith("vigil_frames_total{"))
            return {line.split('outcome="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}

        wait_for("all frames", lambda: balance().get("decoded", 0) >= 75)  # the last ones stay in buffers
        wait_for("the last size", lambda: [f["frame"]["width"] for f in inbox.of("gate")][-1:] == [640])
        counts = balance()
        stop.set()
    assert counts["dropped_error"] == 0
    assert len({frame["session"] for frame in inbox.of("gate")}) == 1
    for frame in inbox.of("gate"):
        size = frame["frame"]["width"], frame["frame"]["height"]
        assert size == sizes[frame["seq"] // 20]
        assert all(seen["box"][2] <= size[0] and seen["box"][3] <= size[1] for seen in frame["objects"])


NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events {{}}
rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; allow play all; }} }} }}
"""
# Publishes a clip over and over, at four times its speed.
PUBLISH = """
import sys, time, av
with av.open(sys.argv[2], "w", format="flv") as target:
    began, offset, stream = time.monotonic(), 0, None
    while True:
        with av.open(sys.argv[1]) as clip:
            source = clip.streams.video[0]
            stream = stream or target.add_stream_from_template(source)
            for packet in clip.demux(source):
                if packet.dts is not None:
                    packet.dts, packet.pts, packet.stream = packet.dts + offset, packet.pts + offset, stream
                    last = packet.dts + packet.duration
                    time.sleep(max(0.0, began + float(packet.dts * packet.time_base) / 4 - time.monotonic()))
                    target.mux(packet)
            offset = last
"""


@pytest.fixture
def rtmp(street: Path, tmp_path: Path) -> Iterator[str]:
    """nginx, and a camera that publishes the street to it."""
    if not Path("/usr/lib/nginx/modules/ngx_rtmp_module.so").exists():
        pytest.skip("no RTMP server: apt-get install libnginx-mod-rtmp")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(port=port))
    url = f"rtmp://127.0.0.1:{port}/live/street"
    server = subprocess.Popen(["/usr/sbin/nginx", "-p", str(tmp_path), "-c", str(config), "-e", "stderr"])
    camera = None
    try:
        wait_for("nginx listens", lambda: listens(port))
        camera = subprocess.Popen([sys.executable, "-c", PUBLISH, str(street), url])
        yield url
    finally:
        for process in (server, camera):
            if process is not None:
                process.kill()
                process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_stream_on_an_rtmp_server_and_one_that_nobody_publishes(rtmp: str) -> None:
    assert read(rtmp, 20, connect_timeout=20).startswith("h264 320x240")
    assert refusal(rtmp + "-nowhere", connect_timeout=1).reason is Reason.TIMEOUT
    assert refusal(rtmp.replace("/live/", "/other/")).reason in (Reason.REFUSED, Reason.NOT_FOUND)


def test_connections_leave_no_descriptor_and_no_thread_behind(rtsp_server: Camera) -> None:
    camera = rtsp_server()
    read(camera.url(), 1)
    gc.collect()  # what earlier tests left may otherwise go meanwhile

    def held(what: str) -> int:
        return len(os.listdir(f"/proc/self/{what}"))

    descriptors, threads = held("fd"), held("task")
    for _ in range(8):
        refusal(camera.url() + "/nowhere")
        refusal(camera.url().replace("rtsp:", "rtsps:"))
    for _ in range(3):
        read(camera.url(), 1)
    wait_for("no descriptor is left", lambda: held("fd") <= descriptors)
    wait_for("no thread is left", lambda: held("task") <= threads)
