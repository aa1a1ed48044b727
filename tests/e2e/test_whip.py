"""Publishers by WHIP: aiortc and a real browser are cameras like any other, come and go, and harm nobody."""

from __future__ import annotations

import functools
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import psutil
import pytest

from tests.e2e.real import Inbox, Running, wait_for
from tests.e2e.test_cameras import states

SCRIPT = Path(__file__).with_name("whip_publisher.py")
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "webrtc.md"
TOKEN = "stage-s3cr3t"


class Publisher:
    """A process that publishes a file by WHIP."""

    def __init__(self, service: Running, file: Path, stream: str = "stage", token: str = TOKEN) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), f"{service.addresses['http']}/whip/{stream}", str(file), token],
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
def publish(street: Path) -> Iterator[Callable[..., Publisher]]:
    publishers: list[Publisher] = []

    def start(service: Running, **options: Any) -> Publisher:
        publishers.append(Publisher(service, street, **options))
        return publishers[-1]

    yield start
    for publisher in publishers:
        publisher.kill()


def config(street: Path, **stage: Any) -> dict[str, Any]:
    return {"streams": {
        "stage": {"url": "whip://", "token": "${STAGE_TOKEN}", "read_timeout": 2, **stage},
        "yard": {"url": str(street), "loop": True},
    }}  # fmt: skip


SECRETS = {"STAGE_TOKEN": TOKEN}


def people(inbox: Inbox) -> list[dict[str, Any]]:
    """The persons on stage whose tracks have started."""
    started = [event for event in inbox.events if event["type"] == "track.started"]
    return [event for event in started if event["stream"] == "stage" and event["class_name"] == "person"]


def details(inbox: Inbox, stream: str) -> list[str]:
    return [status["detail"] for status in inbox.status if status["stream"] == stream and "detail" in status]


def test_publishers_are_cameras_like_any_other_one_after_the_other(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], publish: Callable[..., Publisher],
    street: Path,
) -> None:  # fmt: skip
    service = run_service(config(street), SECRETS)
    inbox = subscribe(service)
    refused = publish(service, token="wrong").answer()
    assert (refused["status"], json.loads(refused["body"])["code"]) == (401, "whip.unauthorized")

    first = publish(service)
    answer = first.answer()
    assert answer["status"] == 201
    assert answer["headers"]["location"].startswith("/whip/stage/")
    wait_for("tracks of the publisher's people", lambda: people(inbox))
    assert service.streams()["stage"]["description"].endswith("320x240 by WHIP")
    busy = publish(service).answer()
    assert (busy["status"], json.loads(busy["body"])["code"]) == (409, "whip.busy")
    session = inbox.of("stage")[-1]["session"]
    assert first.stop()["status"] == 200
    wait_for("the end is told", lambda: "the publisher ended its session" in details(inbox, "stage"), 5)

    second = publish(service)
    assert second.answer()["status"] == 201
    wait_for("a new session", lambda: inbox.of("stage")[-1]["session"] > session, 15)
    # DTLS tells the end when there is no DELETE; SIGKILL tells nothing.
    second.kill()
    wait_for("silence is noticed", lambda: "no picture from the publisher for 2 s" in details(inbox, "stage"), 8)
    wait_for("it waits again", lambda: service.streams()["stage"]["state"] == "connecting", 5)

    started = {e["track_uid"] for e in inbox.events if e["stream"] == "stage" and e["type"] == "track.started"}
    ended = {e["track_uid"] for e in inbox.events if e["stream"] == "stage" and e["type"] == "track.ended"}
    assert started == ended
    assert states(inbox, "yard") in (["connecting", "live"], ["live"], [])
    order = [(frame["session"], frame["seq"]) for frame in inbox.of("stage")]
    assert order == sorted(order)
    shown = [service.get("/api/v1/streams"), service.get("/metrics"), *(raw.decode() for raw in inbox.raw)]
    assert service.stop() == 0
    assert not [text for text in [*shown, service.log.read_text()] if TOKEN in text]


def test_twenty_publishers_leave_nothing_behind(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path
) -> None:
    import asyncio

    import httpx
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.contrib.media import MediaPlayer

    service = run_service(config(street), SECRETS)
    inbox = subscribe(service)
    wait_for("the stream is read", lambda: "connecting" in states(inbox, "stage"))
    url = f"{service.addresses['http']}/whip/stage"

    async def once(client: httpx.AsyncClient, count: int) -> None:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTransceiver(MediaPlayer(str(street), loop=True).video, direction="sendonly")
        await connection.setLocalDescription(await connection.createOffer())
        answer = await client.post(
            url, content=connection.localDescription.sdp, headers={"Content-Type": "application/sdp"}
        )
        assert answer.status_code == 201, answer.text
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        # The publication is over for the reader too before the next one begins.
        while len(inbox.of("stage")) == count:
            await asyncio.sleep(0.02)
        assert (await client.delete(f"{service.addresses['http']}{answer.headers['location']}")).status_code == 200
        await connection.close()

    async def many(times: int) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client, asyncio.timeout(60):
            for _ in range(times):
                await once(client, len(inbox.of("stage")))

    def held() -> tuple[int, int]:
        workers = service.children()["worker"]
        return sum(one.num_threads() for one in workers), sum(one.num_fds() for one in workers)

    asyncio.run(many(2))
    wait_for("the last is gone", lambda: service.streams()["stage"]["state"] == "connecting")
    before = held()
    asyncio.run(many(20))
    wait_for("the last is gone", lambda: service.streams()["stage"]["state"] == "connecting")
    wait_for(f"threads and descriptors are back at {before}", lambda: held() <= before, 5)
    assert service.stop() == 0


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Serves the page of the guide for an endpoint, from an origin of its own; gives its URL."""
    folder = tmp_path / "page"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}"

    def serve(endpoint: str) -> str:
        html = re.search(r"```html\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        assert html is not None, "the guide shows a page"
        filled = html[1].replace("http://127.0.0.1:8600/whip/stage", endpoint).replace('"…"', f'"{TOKEN}"')
        (folder / "index.html").write_text(filled)
        return origin

    serve.origin = origin  # type: ignore[attr-defined]
    yield serve
    server.shutdown()
    server.server_close()


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
             f"--user-data-dir={tmp_path / 'profile'}", "--use-fake-ui-for-media-stream",
             "--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera}", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ))  # fmt: skip
        return browsers[-1]

    yield start
    for browser in browsers:
        kill_tree(browser)


def kill_tree(browser: subprocess.Popen[bytes]) -> None:
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
        out.write(
            f"YUV4MPEG2 W{stream.width} H{stream.height} F{stream.average_rate.numerator}:1 Ip A1:1 C420\n".encode()
        )
        for frame in container.decode(stream):
            out.write(b"FRAME\n" + frame.reformat(format="yuv420p").to_ndarray().tobytes())


def test_a_browser_page_is_a_camera(
    run_service: Callable[..., Running], subscribe: Callable[[Running], Inbox], street: Path,
    browse: Callable[[str], subprocess.Popen[bytes]], page: Callable[[str], str],
) -> None:  # fmt: skip
    origin = page.origin  # type: ignore[attr-defined]
    service = run_service({**config(street), "http": {"port": 0, "allow_origins": [origin]}}, SECRETS)
    inbox = subscribe(service)
    wait_for("the stream is read", lambda: "connecting" in states(inbox, "stage"))
    browser = browse(page(f"{service.addresses['http']}/whip/stage"))
    wait_for("tracks of the people before the browser's camera", lambda: people(inbox), 40)
    track = people(inbox)[0]["track_id"]
    wait_for("such a track goes on", lambda: 10 < sum(
        track in (one["track_id"] for one in frame["objects"]) for frame in inbox.of("stage")
    ), 10)  # fmt: skip
    kill_tree(browser)
    wait_for("its end is noticed", lambda: "backoff" in states(inbox, "stage"), 8)
    assert service.stop() == 0
