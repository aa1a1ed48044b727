"""What one service does for its streams, each with settings of its own; and that a stop ends it all well."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
import cv2
import nats
import numpy as np
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from numpy.typing import NDArray

from publish.headers import traceparent
from publish.schema.control import ENDPOINTS, JPEG
from tests.e2e.conftest import heard_services, rtsp_servers
from tests.e2e.contract import wrong
from tests.e2e.real import Inbox, Running, wait_for

WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]
HALF = [[0.34, 0.0], [1.0, 0.0], [1.0, 1.0], [0.34, 1.0]]  # its edge is where one of the people goes to and fro
MIDDLE = {"from": [0.34, 1.0], "to": [0.34, 0.0], "hold": 0.1}

Of = tuple[Running, Inbox]


@pytest.fixture(scope="module")
def of(street: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Of]:
    """The service, and all that it says.

    The picture moves over people who stand: to and fro, through a zone and over a line in its middle.
    """
    video = {"url": str(street), "loop": True}
    with (
        rtsp_servers(street) as rtsp_server,
        heard_services(tmp_path_factory.mktemp("service")) as start,
    ):
        service, inbox = start({
            "nats": {"frames_format": "msgpack"},
            "streams": {
                "cam": {**video, "fps": 5, "zones": {"all": {"polygon": WHOLE, "every": 1}}},
                "spared": {**video, "attention": "adaptive"},
                "ruled": {
                    **video, "on_full": "block",  # a busy machine costs none of its frames: a stay has its length
                    "zones": {"half": {"polygon": HALF, "dwell": 0.5, "hold": 0.1, "speed_over": 0.001}},
                    "lines": {"middle": {**MIDDLE, "windows": [600], "every": 2}},
                    "ground": {"picture": [[0, 1], [1, 1], [0.9, 0.1], [0.1, 0.1]],
                               "metres": [[0, 0], [4, 0], [4, 9], [0, 9]]},
                },
                "pictured": {
                    **video, "snapshots": {"events": ["track.ended", "line.crossed"]},
                    "clips": {"events": ["line.crossed"], "before": 1, "after": 1, "longest": 4},
                    "lines": {"middle": MIDDLE},
                },
                "gate": {
                    "url": rtsp_server().url(), "clips": {"before": 1, "after": 1, "events": ["zone.entered"]},
                    "zones": {"all": {"polygon": WHOLE, "hold": 0.1}},
                },
            },
        })  # fmt: skip
        wait_for("results", lambda: len(inbox.of("cam")) > 10)
        yield service, inbox


def outcomes(service: Running, stream: str) -> Counter[str]:
    """The stream's frames in one scrape, by what became of them; they add up."""
    scrape = service.get("/metrics")
    counts = re.findall(rf'vigil_frames_total\{{outcome="(\w+)",stream="{stream}"\}} (\S+)', scrape)
    flying = float(re.findall(rf'vigil_frames_in_flight\{{stream="{stream}"\}} (\S+)', scrape)[0])
    frames = {outcome: float(value) for outcome, value in counts}
    assert frames.pop("decoded") == sum(frames.values()) + flying
    return Counter({outcome: int(value) for outcome, value in frames.items()})


def test_the_scrape_adds_up_and_readiness_tells_the_truth(of: Of) -> None:
    service, _ = of
    assert wait_for("readiness", lambda: service.ready()["status"] == "ready")
    assert json.loads(service.get("/health/live")) == {"status": "live"}
    assert outcomes(service, "cam")["skipped_sample"] > 0
    assert 'vigil_model_info{device="cpu"' in service.get("/metrics")
    assert service.streams()["cam"]["state"] == "live"


def test_events_can_be_read_back_with_the_command(of: Of) -> None:
    service, inbox = of
    wait_for("an event", lambda: inbox.events)
    command = [sys.executable, "-m", "vigil.cli", "events", "-c", str(service.file), "--since", "1m", "--json"]
    with subprocess.Popen([*command, "--type", "track.started"], stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        event = json.loads(events.stdout.readline())
        events.kill()
    assert event["event_id"] in {one["event_id"] for one in inbox.events}


def test_tracks_go_on_in_frames_that_the_detector_is_not_asked_about(of: Of) -> None:
    service, inbox = of
    wait_for("results of frames that were not analysed", lambda: sum(
        bool(frame["objects"]) for frame in inbox.of("spared") if not frame.get("analysed", True)) > 5)  # fmt: skip
    skipped = next(frame for frame in inbox.of("spared") if not frame.get("analysed", True) and frame["objects"])
    assert all(seen["track_id"] for seen in skipped["objects"])
    wait_for("skipped frames in the metrics", lambda: outcomes(service, "spared")["skipped_adaptive"] > 0)


def told(inbox: Inbox, stream: str, kind: str) -> list[dict[str, Any]]:
    return [event for event in inbox.events if event["stream"] == stream and event["type"] == kind]


def test_people_enter_and_leave_zones_and_cross_lines(of: Of) -> None:
    service, inbox = of

    def seen(kind: str) -> list[dict[str, Any]]:
        return told(inbox, "ruled", kind)

    wait_for("both ways over the line", lambda: {event["direction"] for event in seen("line.crossed")} == {
        "left", "right"})  # fmt: skip
    wait_for("a long stay", lambda: seen("zone.dwell"))
    wait_for("someone left", lambda: seen("zone.left"))
    counted = r'vigil_line_crossings_total\{[^}]*direction="right"[^}]*stream="ruled"[^}]*\} [1-9]'
    wait_for("a crossing in the metrics", lambda: re.search(counted, service.get("/metrics")))
    assert 'vigil_zone_objects{stream="ruled",zone="half"}' in service.get("/metrics")
    assert re.search(r'vigil_line_crossings_window\{[^}]*window="600"\} [1-9]', service.get("/metrics"))
    wait_for("a count of those who crossed", lambda: any(report["counts"] for report in seen("line.counted")))
    wait_for("a track's end", lambda: seen("track.ended"))
    heat = json.loads(service.get("/api/v1/streams/ruled/heatmap"))
    assert len(heat["seconds"]) == 48
    assert sum(map(sum, heat["seconds"])) > 1
    with urllib.request.urlopen(service.addresses["http"] + "/api/v1/streams/ruled/heatmap?format=png") as picture:
        assert picture.read(4) == b"\x89PNG"


def fetched(service: Running, path: str) -> tuple[bytes, dict[str, str]]:
    with urllib.request.urlopen(service.addresses["http"] + path, timeout=10) as answer:
        return answer.read(), dict(answer.headers)


def picture(data: bytes) -> NDArray[np.uint8]:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found  # type: ignore[return-value]


def there(service: Running, key: str) -> bytes | None:
    """What is kept by a key, once it is."""
    try:
        return fetched(service, f"/api/v1/media/{key}")[0]
    except urllib.error.HTTPError as refusal:
        assert json.loads(refusal.read())["code"] == "media.missing"
        return None


def watch(film: bytes) -> None:
    """A clip plays from a key frame on, and is about as long as was asked."""
    with av.open(io.BytesIO(film)) as container:
        frames = list(container.decode(video=0))
        assert (frames[0].key_frame, frames[0].pts, frames[0].width) == (True, 0, 320)
        assert len(container.streams) == 1 and 5 <= len(frames) <= 60


async def asked_over_nats(service: Running, **asked: Any) -> Any:
    client = await nats.connect(service.addresses["nats"])
    answer = await client.request(f"{service.addresses['prefix']}.control.snapshot", json.dumps(asked).encode(), 10)
    await client.close()
    return answer


def test_events_come_with_pictures_and_streams_show_themselves(of: Of) -> None:
    service, inbox = of

    def pictured(stream: str, kind: str) -> dict[str, Any] | None:
        return next((event for event in told(inbox, stream, kind) if "media" in event), None)

    crossed = wait_for("a crossing with pictures", lambda: pictured("pictured", "line.crossed"))
    media = crossed["media"]
    assert media["seq"] >= crossed["seq"]
    assert re.fullmatch(rf"pictured/\d{{4}}-\d\d-\d\d/{re.escape(crossed['event_id'])}-crop\.jpg", media["crop"])
    whole = picture(wait_for("the frame of the event", lambda: there(service, media["snapshot"])))
    crop = picture(wait_for("the object of the event", lambda: there(service, media["crop"])))
    assert whole.shape == (240, 320, 3)
    assert crop.shape[0] < 240 and whole.std() > 20

    watch(wait_for("the clip of the event", lambda: there(service, media["clip"])))
    entered = wait_for("a clip of an RTSP camera", lambda: pictured("gate", "zone.entered"))
    assert set(entered["media"]) == {"clip"}
    watch(wait_for("that clip", lambda: there(service, entered["media"]["clip"])))
    plain, headers = fetched(service, "/api/v1/streams/pictured/snapshot.jpg")
    assert picture(plain).shape == (240, 320, 3)
    assert int(headers["vigil-session"]) == crossed["session"] and "vigil-boxes-seq" not in headers
    boxed, headers = fetched(service, "/api/v1/streams/pictured/snapshot.jpg?boxes=1&max_side=160")
    assert (
        picture(boxed).shape == (120, 160, 3) and 0 <= int(headers["vigil-seq"]) - int(headers["vigil-boxes-seq"]) < 60
    )
    answer = asyncio.run(asked_over_nats(service, id="pictured", boxes=True))
    assert picture(answer.data).shape == (240, 320, 3) and answer.headers["content-type"] == "image/jpeg"
    refused = asyncio.run(asked_over_nats(service, id="nowhere"))
    assert refused.headers["Nats-Service-Error"] == "streams.unknown"

    wait_for("a track's end with pictures", lambda: pictured("pictured", "track.ended"))


def test_frame_results_in_messagepack_and_control_answers_are_as_published(of: Of, street: Path) -> None:
    service, inbox = of
    wait_for("counts", lambda: told(inbox, "cam", "zone.counted"))
    assert {frame["_headers"]["content-type"] for frame in inbox.frames} == {"application/msgpack"}
    asyncio.run(_ask(service, str(street)))
    wait_for("a state", lambda: inbox.status)


def test_a_stop_ends_it_all_well(of: Of) -> None:
    service, inbox = of
    assert service.stop() == 0
    inbox.settle()
    for stream in service.config["streams"]:
        order = [(frame["session"], frame["seq"]) for frame in inbox.of(stream)]
        assert order == sorted(set(order))
    _of_one_trace(inbox)
    _rules_pair_up(inbox)
    _pictures_are_there(service, inbox)


def _rules_pair_up(inbox: Inbox) -> None:
    def seen(kind: str) -> list[dict[str, Any]]:
        return told(inbox, "ruled", kind)

    assert any("speed_mps" in one for result in inbox.of("ruled") for one in result["objects"])
    assert all(event["speed_mps"] > 0 for event in seen("zone.speeding"))
    for end in seen("track.ended"):
        summary = cast(dict[str, Any], end["summary"])
        assert summary["path"][-1][0] == pytest.approx(end["pts"], abs=0.001)
        assert (summary["zones"] == ["half"]) == any(
            event["track_uid"] == end["track_uid"] for event in seen("zone.entered")
        )
    crossed = sum(count["count"] for report in seen("line.counted") for count in cast(list[Any], report["counts"]))
    assert 0 < crossed <= len(seen("line.crossed"))
    events = [event for event in inbox.events if event["stream"] == "ruled" and event["type"] != "line.counted"]
    stays = Counter[object]()
    for event in events:
        stays[event["track_uid"]] += {"zone.entered": 1, "zone.left": -1}.get(event["type"], 0)
        assert stays[event["track_uid"]] in (0, 1)
        assert ("zone" in event) == event["type"].startswith("zone.")
    assert not +stays
    dwelt = [event["duration_s"] for event in seen("zone.dwell")]
    assert all(0.5 <= seconds < 1.5 for seconds in dwelt)


def _pictures_are_there(service: Running, inbox: Inbox) -> None:
    """Those at the very end, too."""
    for event in [event for event in told(inbox, "pictured", "track.ended") if "media" in event]:
        assert cv2.imread(str(service.state / "media" / event["media"]["crop"])) is not None
    assert not list((service.state / "media").rglob(".*"))


def _of_one_trace(inbox: Inbox) -> None:
    """A frame's result and its events have the trace that can be computed from the frame."""
    traces = {_frame_of(frame): frame["_headers"]["traceparent"] for frame in inbox.frames}
    assert len(set(traces.values())) == len(traces)
    assert all(trace == traceparent("test", *frame) for frame, trace in traces.items())
    told = [event for event in inbox.events if _frame_of(event) in traces]
    assert told
    assert all(event["_headers"]["traceparent"] == traces[_frame_of(event)] for event in told)


def _frame_of(message: dict[str, Any]) -> tuple[str, int, int]:
    return message["stream"], message["session"], message["seq"]


async def _ask(service: Running, video: str) -> None:
    client = await nats.connect(service.addresses["nats"])
    prefix = f"{service.addresses['prefix']}.control."
    yard: dict[str, Any] = {"id": "yard", "settings": {"url": video, "fps": 1}, "keep": False}
    questions: list[tuple[str, Any, str]] = [
        ("streams.list", None, ""),
        ("streams.show", {"id": "cam"}, ""),
        ("streams.show", {"id": "nobody"}, "streams.unknown"),
        ("streams.show", {"id": "cam", "colour": "red"}, "control.invalid"),
        ("streams.add", yard, ""),
        ("streams.change", {"id": "yard", "changes": {"fps": -1}, "keep": False}, "config.invalid"),
        ("streams.change", {"id": "yard", "changes": {"fps": 2}, "keep": False}, ""),
        ("streams.pause", {"id": "yard", "keep": False}, ""),
        ("streams.resume", {"id": "yard", "keep": False}, ""),
        ("streams.pause", {"id": "nobody"}, "streams.unknown"),
        ("streams.remove", {"id": "yard", "keep": False}, ""),
        ("health", None, ""),
        ("snapshot", {"id": "cam", "boxes": True}, ""),
        ("snapshot", {"id": "nobody"}, "streams.unknown"),
    ]
    for name, asked, refused in questions:
        answer = await client.request(prefix + name, b"" if asked is None else json.dumps(asked).encode(), timeout=10)
        _check_answer(name, asked, refused, answer)
    assert await _endpoints(client) == {prefix + name for name in ENDPOINTS}
    assert {name for name, *_ in questions} == set(ENDPOINTS), "every question is asked here"
    await client.close()


def _check_answer(name: str, asked: Any, refused: str, answer: Msg) -> None:
    if asked is not None and refused != "control.invalid":
        assert wrong(f"control.{name}.request", asked) == []
    if name == "snapshot" and not refused:
        assert answer.headers is not None and answer.headers["content-type"] == JPEG
        assert answer.data.startswith(b"\xff\xd8")
        return
    body = json.loads(answer.data)
    schema = "control.refusal" if refused else f"control.{name}.answer"
    assert wrong(schema, body) == []
    assert (answer.headers or {}).get("Nats-Service-Error", "") == refused
    if refused:
        assert body["code"] == refused
    elif name == "streams.show":
        assert body["model"].keys() == {"name", "hash", "runtime"}


async def _endpoints(client: Client) -> set[str]:
    """As `nats micro` finds them."""
    info = json.loads((await client.request("$SRV.INFO.vigil", b"", timeout=5)).data)
    return {endpoint["subject"] for endpoint in info["endpoints"]}
