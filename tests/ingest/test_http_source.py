"""Live video over HTTP: motion JPEG, MPEG-TS and HLS from servers on loopback, and what is said when there is none."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.sources import open_source
from tests.ingest.certificate import self_signed
from tests.ingest.clips import encoded, jpegs, write
from tests.ingest.servers import body, chunks, endless, http_server, listener, motion_jpeg

JPEG_PARTS = "multipart/x-mixed-replace; boundary=frame"
PLAYLIST = "application/vnd.apple.mpegurl"


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    stop = threading.Event()
    yield stop
    stop.set()


def config(url: str, **settings: Any) -> SourceConfig:
    return SourceConfig(url=url, **{"connect_timeout": 20, "read_timeout": 20, **settings})


def read(url: str, count: int, **settings: Any) -> tuple[str, list[av.VideoFrame]]:
    with open_source(config(url, **settings)) as source:
        frames = list(islice(source.frames(), count))
        return source.description, frames


def refusal(url: str, **settings: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(url, 1000, **settings)
    return caught.value


def test_motion_jpeg_is_timed_by_its_arrival(stop: threading.Event) -> None:
    with http_server({"/video": endless(motion_jpeg(jpegs(10)), JPEG_PARTS, stop, 0.05)}) as server:
        description, frames = read(f"{server}/video", 12)
    assert description == "mjpeg 128x96"
    seconds = [float(frame.pts * frame.time_base) for frame in frames]
    # FFmpeg would say 25 a second; 20 at most were sent.
    assert (seconds[-1] - seconds[4]) / 7 > 0.045


def test_motion_jpeg_may_change_its_size_with_every_picture(stop: threading.Event) -> None:
    pictures = [*jpegs(2), *jpegs(2, (64, 48)), *jpegs(2, (320, 240))]
    with http_server({"/video": endless(motion_jpeg(pictures), JPEG_PARTS, stop, 0.01)}) as server:
        _, frames = read(f"{server}/video", 12)
    assert [frame.width for frame in frames] == 2 * [128, 128, 64, 64, 320, 320]


def test_mpeg_ts_over_http(stop: threading.Event) -> None:
    with http_server({"/live": endless(chunks(encoded(frames=60), 4 * 188), "video/mp2t", stop, 0.005)}) as server:
        description, frames = read(f"{server}/live", 30)
    assert description.startswith("h264 128x96")
    assert len(frames) == 30


def test_a_server_that_falls_silent_times_out(stop: threading.Event) -> None:
    with http_server({"/live": endless(chunks(encoded(frames=30), 4096), "video/mp2t", stop, 0.001)}) as server:
        began = time.monotonic()
        error = refusal(f"{server}/live", read_timeout=1)
    assert error.reason is Reason.TIMEOUT
    assert time.monotonic() - began < 10


def test_hls_begins_with_its_newest_segment(tmp_path: Path) -> None:
    """Four segments of a second each are there; a late viewer is not shown the past."""
    options = {"hls_time": "1", "hls_list_size": "0", "hls_segment_filename": str(tmp_path / "part%d.ts"),
               "preset": "ultrafast"}  # fmt: skip
    playlist = str(tmp_path / "all.m3u8")
    with av.open(_clip(tmp_path / "clip.mp4")) as clip, av.open(playlist, "w", format="hls", options=options) as target:
        stream = target.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    live = "\n".join([
        "#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0",
        *(line for number in range(4) for line in ("#EXTINF:1.0,", f"part{number}.ts")),
    ])  # fmt: skip
    answers = {f"/part{n}.ts": body((tmp_path / f"part{n}.ts").read_bytes(), "video/mp2t") for n in range(4)}
    with http_server({"/live.m3u8": body(live.encode(), PLAYLIST), **answers}) as server:
        source_config = config(f"{server}/live.m3u8")
        assert source_config.is_paced
        with open_source(source_config) as source:
            first = next(iter(source.frames()))
    with av.open(str(tmp_path / "part3.ts")) as newest:
        expected = next(newest.decode(video=0)).pts
    assert first.pts == expected


def _clip(path: Path) -> str:
    write(path, format="mp4", frames=40)
    return str(path)


def test_a_recording_is_no_live_stream(tmp_path: Path) -> None:
    clip = Path(_clip(tmp_path / "clip.mp4")).read_bytes()
    with http_server({"/clip.mp4": body(clip, "video/mp4")}) as server:
        error = refusal(f"{server}/clip.mp4")
    assert error.reason is Reason.REFUSED
    assert "is a recording of 4 s and no live stream" in error.detail


def guarded(login: str) -> Any:
    expected = "Basic " + b64encode(login.encode()).decode()

    def answer(request: BaseHTTPRequestHandler) -> None:
        if request.headers.get("Authorization") != expected:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        body(encoded(), "video/mp2t")(request)

    return answer


def test_logins_are_used_and_refused_ones_told_without_the_password() -> None:
    with http_server({"/live": guarded("viewer:s3cr3t")}) as server:
        host = server.removeprefix("http://")
        assert len(read(f"http://viewer:s3cr3t@{host}/live", 5)[1]) == 5
        error = refusal(f"http://viewer:wr0ng@{host}/live")
    assert error.reason is Reason.AUTH
    assert "wr0ng" not in str(error)


def failing(status: int) -> Any:
    return lambda request: request.send_error(status)


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nowhere", Reason.NOT_FOUND), ("/broken", Reason.REFUSED), ("/forbidden", Reason.AUTH),
     ("/text", Reason.CORRUPT), ("/sound", Reason.NO_VIDEO), ("/gone.m3u8", Reason.NOT_FOUND)],
)  # fmt: skip
def test_what_a_server_answers_becomes_a_reason(path: str, reason: Reason, tmp_path: Path) -> None:
    answers = {
        "/broken": failing(503), "/forbidden": failing(403), "/text": body(b"Not a camera.\n" * 999, "text/plain"),
        "/sound": body(_sound(tmp_path), "audio/x-wav"),
    }  # fmt: skip
    with http_server(answers) as server:
        assert refusal(server + path).reason is reason


def _sound(folder: Path) -> bytes:
    path = folder / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        silence = av.AudioFrame(format="s16", layout="mono", samples=8000)
        silence.sample_rate = 8000
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(silence))
    return path.read_bytes()


@pytest.mark.parametrize("accepts", [True, False])
@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp", "https", "rtsps"])
def test_a_server_that_never_answers_is_given_up_in_time(scheme: str, accepts: bool) -> None:
    """Neither one that takes the connection and is silent, nor one that does not even take it."""
    with listener(accepts) as port:
        began = time.monotonic()
        error = refusal(f"{scheme}://127.0.0.1:{port}/live", connect_timeout=0.7, read_timeout=20)
    assert error.reason is Reason.TIMEOUT
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("scheme", ["http", "https", "rtmp", "rtmps", "rtsp", "rtsps"])
def test_an_unknown_host_is_unreachable_and_a_closed_port_refuses(scheme: str) -> None:
    unknown = refusal(f"{scheme}://no-such-camera.invalid/live")
    assert unknown.reason is Reason.UNREACHABLE
    assert "no-such-camera.invalid is not known" in unknown.detail
    assert refusal(f"{scheme}://127.0.0.1:1/live").reason is Reason.REFUSED


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_told_otherwise(
    tmp_path: Path, stop: threading.Event
) -> None:
    certificate = self_signed(tmp_path)
    with http_server({"/video": endless(motion_jpeg(jpegs(4)), JPEG_PARTS, stop, 0.01)}, certificate) as server:
        error = refusal(f"{server}/video")
        assert error.reason is Reason.TLS
        assert "set `tls_verify: false`" in error.detail
        _, frames = read(f"{server}/video", 5, tls_verify=False)
    assert len(frames) == 5


def test_a_server_without_tls_is_told_from_a_bad_certificate(stop: threading.Event) -> None:
    with http_server({}) as server:
        error = refusal(server.replace("http:", "https:") + "/live")
    assert error.reason is Reason.TLS
    assert "not with TLS" in error.detail
