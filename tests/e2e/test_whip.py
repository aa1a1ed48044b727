"""Publishers by WHIP: aiortc and a real browser are cameras like any other, come and go, and harm nobody."""

from __future__ import annotations

import asyncio
import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import httpx
import psutil
import pytest
import yaml
from aiortc import RTCCertificate, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e.real import PATIENCE_S, Inbox, Running, Subscriber, wait_for

SCRIPT = Path(__file__).with_name("whip_publisher.py")
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "webrtc.md"
TOKEN = "stage-s3cr3t"
GONE_S = 3
PORTS = range(52000, 52200)


@dataclass
class Stage:
    """A service with a stream for publishers beside an ordinary camera, and what it publishes. All tests share it."""

    service: Running
    inbox: Inbox
    street: Path

    @property
    def endpoint(self) -> str:
        return f"{self.service.addresses['http']}/whip/stage"

    def state(self) -> str:
        return str(self.service.streams()["stage"]["state"])

    def told(self) -> list[str]:
        """Why publications ended, so far."""
        ours = [one for one in self.inbox.status if one["stream"] == "stage"]
        return [one["detail"] for one in ours if one.get("reason") == "lost"]

    def people(self) -> list[dict[str, Any]]:
        """The persons on stage whose tracks have started."""
        started = [event for event in self.inbox.events if event["type"] == "track.started"]
        return [event for event in started if event["stream"] == "stage" and event["class_name"] == "person"]

    def worker(self) -> psutil.Process:
        (worker,) = self.service.children()["worker"]
        return worker


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder that is served as a web site, and the site's origin."""
    folder = tmp_path_factory.mktemp("site")
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, street: Path, site: tuple[Path, str]) -> Iterator[Stage]:
    file = tmp_path_factory.mktemp("stage") / "vigil.yaml"
    file.write_text(yaml.safe_dump({
        "site": "test", "state_dir": "state", "log": {"format": "json", "level": "debug"},
        "http": {"port": 0, "allow_origins": [site[1]]},
        "detector": {"model": "starter", "image_size": 320},
        "webrtc": {"udp_ports": f"{PORTS[0]}-{PORTS[-1]}"},
        "streams": {
            "stage": {"url": "whip://", "token": "${STAGE_TOKEN}", "read_timeout": GONE_S},
            "yard": {"url": str(street), "loop": True},
        },
    }))  # fmt: skip
    service = Running(file, {"STAGE_TOKEN": TOKEN})
    try:
        service.wait_started()
        subscriber = Subscriber(service.addresses["nats"], service.addresses["prefix"])
        stage = Stage(service, subscriber.__enter__(), street)
        wait_for("the other camera's frames", lambda: stage.inbox.of("yard"))
        yield stage
        shown = [service.get("/api/v1/streams/stage"), service.get("/metrics"), *(r.decode() for r in stage.inbox.raw)]
        assert service.stop() == 0
        assert not service.leftovers()
        assert not [text for text in [*shown, service.log.read_text()] if TOKEN in text]
        subscriber.__exit__()
    finally:
        service.kill_all()


class Publisher:
    """A process that publishes the street to the stage."""

    def __init__(self, stage: Stage, token: str = TOKEN) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), stage.endpoint, str(stage.street), token],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def stop(self) -> dict[str, Any]:
        """Has it DELETE its session; the answer to that."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        answer = self.answer()
        self.process.wait(10)
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def publish(stage: Stage) -> Iterator[Callable[..., Publisher]]:
    publishers: list[Publisher] = []

    def start(**options: Any) -> Publisher:
        publishers.append(Publisher(stage, **options))
        return publishers[-1]

    yield start
    for publisher in publishers:
        publisher.kill()
    wait_for("the stage is empty", lambda: stage.state() == "connecting")


def test_publishers_are_cameras_like_any_other_one_after_the_other(
    stage: Stage, publish: Callable[..., Publisher]
) -> None:
    inbox = stage.inbox
    first, refused = publish(), publish(token="wrong")
    answer = refused.answer()
    assert (answer["status"], json.loads(answer["body"])["code"]) == (401, "whip.unauthorized")
    answer = first.answer()
    assert answer["status"] == 201
    assert answer["headers"]["location"].startswith("/whip/stage/")
    ports = {int(line.split()[5]) for line in answer["body"].splitlines() if line.startswith("a=candidate:")}
    assert ports
    assert ports <= set(PORTS)
    wait_for("tracks of the publisher's people", stage.people)
    assert stage.service.streams()["stage"]["description"].endswith("320x240 by WHIP")
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {TOKEN}"}
    wait_for(
        "another is refused", lambda: httpx.post(stage.endpoint, content="v=0", headers=headers).status_code == 409
    )
    session = inbox.of("stage")[-1]["session"]
    assert first.stop()["status"] == 200
    wait_for("the end is told", lambda: "the publisher ended its session" in stage.told())

    second = publish()
    assert second.answer()["status"] == 201
    wait_for("a new session", lambda: inbox.of("stage")[-1]["session"] > session)
    second.kill()  # no DELETE, and not a word over DTLS either
    wait_for("silence is noticed", lambda: f"no picture from the publisher for {GONE_S} s" in stage.told())
    wait_for("it waits again", lambda: stage.state() == "connecting")

    events = [event for event in inbox.events if event["stream"] == "stage"]
    started = {event["track_uid"] for event in events if event["type"] == "track.started"}
    assert started == {event["track_uid"] for event in events if event["type"] == "track.ended"}
    order = [(frame["session"], frame["seq"]) for frame in inbox.of("stage")]
    assert order == sorted(order)
    assert len({frame["session"] for frame in inbox.of("yard")}) == 1, "the neighbour goes on"


def test_publishers_leave_nothing_behind(stage: Stage) -> None:
    async def once(client: httpx.AsyncClient) -> None:
        seen = len(stage.inbox.of("stage"))
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        player = MediaPlayer(str(stage.street), loop=True)
        connection.addTransceiver(player.video, direction="sendonly")
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp
        answer = await client.post(stage.endpoint, content=offer, headers={"Content-Type": "application/sdp"})
        assert answer.status_code == 201, answer.text
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        while len(stage.inbox.of("stage")) == seen:
            await asyncio.sleep(0.02)
        assert (await client.delete(httpx.URL(stage.endpoint).join(answer.headers["location"]))).status_code == 200
        await connection.close()
        player.video.stop()

    async def many(times: int) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client, asyncio.timeout(90):
            for _ in range(times):
                await once(client)

    def held() -> tuple[int, int]:
        worker = stage.worker()
        return worker.num_threads(), worker.num_fds()

    asyncio.run(many(2))
    wait_for("the last is gone", lambda: stage.state() == "connecting")
    threads, descriptors = held()
    asyncio.run(many(8))
    wait_for("the last is gone", lambda: stage.state() == "connecting")
    wait_for(f"{threads} threads at most", lambda: held()[0] <= threads)
    wait_for(f"{descriptors} descriptors at most", lambda: held()[1] <= descriptors)


def test_ffmpegs_muxer_is_a_camera_too(stage: Stage, tmp_path: Path) -> None:
    """It offers H.264 only, in a profile of its own choice, and no audio."""
    certificate, key = make_certificate(tmp_path)
    before, told = len(stage.inbox.of("stage")), len(stage.told())
    options = {"authorization": TOKEN, "cert_file": str(certificate), "key_file": str(key)}
    with av.open(stage.endpoint, "w", format="whip", options=options) as out, av.open(str(stage.street)) as street:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        video.options = {"preset": "veryfast", "tune": "zerolatency", "bf": "0", "g": "10"}
        pictures = [picture.reformat(format="yuv420p") for picture in street.decode(video=0)]
        pace, number, ends = threading.Event(), 0, time.monotonic() + PATIENCE_S
        while len(stage.inbox.of("stage")) < before + 10 and time.monotonic() < ends:
            picture = pictures[number % len(pictures)]
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(video.encode(picture))
            pace.wait(1 / 25)
            number += 1
    assert len(stage.inbox.of("stage")) >= before + 10
    assert any(frame["objects"] for frame in stage.inbox.of("stage")[before:])
    wait_for("its DELETE is taken", lambda: "the publisher ended its session" in stage.told()[told:])


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """One on a curve that WebRTC has (RFC 8827, 6.5): FFmpeg with GnuTLS makes itself another."""
    made = RTCCertificate.generateCertificate()
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made._cert.public_bytes(Encoding.PEM))
    key.write_bytes(made._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


@pytest.fixture
def browse(tmp_path: Path, street: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Opens a page in a real, headless Chromium that has the street for a camera."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no browser: apt-get install chromium")
    camera = tmp_path / "camera.y4m"
    write_y4m(street, camera)
    browsers: list[subprocess.Popen[bytes]] = []

    def start(url: str) -> subprocess.Popen[bytes]:
        browsers.append(subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
             "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
             f"--use-file-for-fake-video-capture={camera}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ))  # fmt: skip
        return browsers[-1]

    yield start
    for browser in browsers:
        end_browser(browser)


def end_browser(browser: subprocess.Popen[bytes]) -> None:
    if browser.poll() is None:
        family = [*psutil.Process(browser.pid).children(recursive=True), psutil.Process(browser.pid)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, 5)
    browser.wait(5)


def write_y4m(video: Path, path: Path) -> None:
    """The only uncompressed format that Chromium takes for a camera."""
    with av.open(str(video)) as container, path.open("wb") as out:
        stream = container.streams.video[0]
        rate = f"{stream.average_rate.numerator}:{stream.average_rate.denominator}"
        out.write(f"YUV4MPEG2 W{stream.width} H{stream.height} F{rate} Ip A1:1 C420\n".encode())
        for frame in container.decode(stream):
            out.write(b"FRAME\n" + frame.reformat(format="yuv420p").to_ndarray().tobytes())


def test_a_browser_page_is_a_camera(
    stage: Stage, browse: Callable[[str], subprocess.Popen[bytes]], site: tuple[Path, str]
) -> None:
    """The page is the guide's, and comes from an origin that is allowed."""
    folder, origin = site
    page = re.search(r"```html\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert page is not None, "the guide shows a page"
    filled = page[1].replace("http://127.0.0.1:8600/whip/stage", stage.endpoint).replace('"…"', f'"{TOKEN}"')
    (folder / "index.html").write_text(filled)
    before, told = len(stage.inbox.of("stage")), len(stage.told())
    browser = browse(origin)

    def longest_track() -> int:
        """Frames of the person that was seen longest before the browser's camera."""
        seen = [one for frame in stage.inbox.of("stage")[before:] for one in frame["objects"]]
        tracks = [one["track_id"] for one in seen if one["class_name"] == "person" and one["track_id"] is not None]
        return max((tracks.count(track) for track in tracks), default=0)

    wait_for("a person is followed over 20 frames of the browser's camera", lambda: longest_track() > 20)
    end_browser(browser)
    wait_for("its end is noticed", lambda: len(stage.told()) > told)
