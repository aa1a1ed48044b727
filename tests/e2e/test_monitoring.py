"""Prometheus watches a running service: all queries of the rules and dashboards have answers, and alerts fire for real.

One service and one Prometheus for all tests, which build on each other in their order: what breaks comes last. To
Prometheus the service is two installations, as queries must hold with several. What a test cannot break from outside,
and two GPUs, come from `troubles/sitecustomize.py`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from prometheus_client.parser import text_string_to_metric_families

from publish.outbox import Durable, Outbox
from tests.docs.metrics import documented
from tests.e2e.conftest import services, subscriptions
from tests.e2e.prometheus import BOXES, DASHBOARDS, Prometheus, condition, filled_in, hurry, queries, wait_for
from tests.e2e.real import Inbox, RtspServer, Running
from tests.publish.tracing.collector import Collector, attributes_of, collecting

TROUBLES = Path(__file__).parent / "troubles"
PORTS = "53300-53349"
# What there is only while something is wrong.
WRONG = re.compile(r"ALERTS|vigil_reconnects_total")
REFUSED = "vigil_metric_samples_refused"
# What may fire here without any trouble, where tests have a slow machine for themselves and many others.
OF_LOAD = {"VigilFramesDropped", "VigilDetectorSaturated", "VigilLatencyHigh"}


@dataclass
class Watched:
    """What runs: the service, its camera `gate`, its webhook's peer, and what watches it.

    Attributes:
        troubles: a folder; a file in it is a trouble of its name.
    """

    service: Running
    troubles: Path
    camera: RtspServer
    peer: Peer
    inbox: Inbox
    collector: Collector
    prometheus: Prometheus


class Peer(ThreadingHTTPServer):
    """A webhook's peer; it refuses the first event at first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refuses = True
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(503 if self.server.refuses else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@asynccontextmanager
async def viewing(service: Running, stream: str, overlay: str) -> AsyncIterator[None]:
    """A WHEP viewer, for as long as it is entered."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.addTransceiver("video", direction="recvonly")
    connection.createDataChannel("tracks", ordered=False, maxRetransmits=0)
    await connection.setLocalDescription(await connection.createOffer())
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(
            f"{service.addresses['http']}/whep/{stream}?overlay={overlay}",
            content=connection.localDescription.sdp, headers={"Content-Type": "application/sdp"},
        )  # fmt: skip
    assert answer.status_code == 201, answer.text
    await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    try:
        yield
    finally:
        await connection.close()


@pytest.fixture
def watched(running: Watched) -> Watched:
    running.prometheus.began = time.monotonic()
    return running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, street: Path) -> Iterator[Watched]:
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus: apt-get install prometheus")
    if not Path("/usr/lib/python3/dist-packages/gi").exists():
        pytest.skip("no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{good,bad}")
    folder, troubles = tmp_path_factory.mktemp("watched"), tmp_path_factory.mktemp("troubles")
    kept = folder / "kept"
    for one in (kept, folder / "state"):
        one.mkdir()
    (folder / "state/media").symlink_to(kept)
    camera = RtspServer("gate", street)
    try:
        with (
            collecting() as collector, closing(Peer()) as peer, services(folder) as start,
            subscriptions() as subscribe,
        ):  # fmt: skip
            environment = {"PYTHONPATH": f"{TROUBLES}:{os.environ.get('PYTHONPATH', '')}", "TROUBLES": str(troubles)}
            looked_at = {
                "fps": 5,
                "zones": {"all": {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "hold": 0.1}},
                "lines": {"middle": {"from": [0.34, 1.0], "to": [0.34, 0.0], "hold": 0.1}},
            }
            service = start({
                "telemetry": {"otlp_endpoint": collector.url, "sample": 0.5},
                "webrtc": {"udp_ports": PORTS},
                "bridges": {"door": {"kind": "webhook", "url": f"http://127.0.0.1:{peer.server_port}", "tries": None}},
                "streams": {
                    "gate": {"url": camera.url(), "connect_timeout": 2, "read_timeout": 2, **looked_at},
                    "yard": {"url": str(street), "loop": True, "snapshots": {}, **looked_at},
                },
            }, env=environment)  # fmt: skip
            with Prometheus(folder, service.addresses["http"]) as watching:
                yield Watched(service, troubles, camera, peer, subscribe(service), collector, watching)
    finally:
        camera.kill()


def test_every_rule_and_every_panel_gets_an_answer(watched: Watched) -> None:
    """But those that ask for what there is only when something has gone wrong: later tests break things."""
    unanswered = {(who, asked) for who, asked in queries() if not WRONG.search(asked) and REFUSED not in asked}

    def answered() -> bool:
        for one in sorted(unanswered):
            if watched.prometheus.query(hurry(condition(one[1]))):
                unanswered.remove(one)
        return not unanswered

    async def asked_while_somebody_watches() -> None:
        async with AsyncExitStack() as viewers:
            for stream, overlay in (("gate", "client"), ("yard", "burned")):
                await viewers.enter_async_context(viewing(watched.service, stream, overlay))
            try:
                await asyncio.to_thread(wait_for, "an answer to every query", answered)
            except AssertionError:
                pytest.fail("no answer:\n" + "\n".join(f"{who}: {asked}" for who, asked in sorted(unanswered)))

    asyncio.run(asked_while_somebody_watches())
    watched.peer.refuses = False
    assert not watched.prometheus.ailing_rules()


def test_a_panel_tells_apart_what_it_shows_and_a_number_is_one(watched: Watched) -> None:
    """With two installations that have cameras of the same names."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            told = [
                re.sub(r"{{(\w+)}}", lambda label, series=series: series["metric"][label[1]], target["legendFormat"])
                for target in panel.get("targets", ())
                for series in watched.prometheus.query(hurry(filled_in(target["expr"], name)))
            ]  # fmt: skip
            if panel["type"] == "stat":
                assert len(told) <= 1, panel["title"]
            elif panel["type"] not in ("row", "table"):
                assert len(set(told)) == len(told), panel["title"]


def test_what_is_scraped_is_what_the_documentation_says(watched: Watched) -> None:
    told = documented()
    for family in text_string_to_metric_families(watched.service.get("/metrics")):
        assert family.name in told, f"{family.name} is not in docs/metrics.md"
        known = told[family.name]
        assert (family.type, family.documentation) == (known.kind, known.help)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= set(known.labels), f"labels of {family.name}"


def test_sampled_frames_are_traces_with_every_stage_and_their_messages_say_so(watched: Watched) -> None:
    def whole() -> dict[str, Any] | None:
        for frame in list(watched.inbox.frames):
            _, trace_id, span_id, flags = frame["_headers"]["traceparent"].split("-")
            spans = {span.name: span for span, _ in list(watched.collector.spans) if span.trace_id.hex() == trace_id}
            assert flags == "01" or not spans
            if "frame" in spans:
                return {**spans, "message": frame, "span": span_id}
        return None

    found = wait_for("the trace of a frame that was told", whole)
    message, span_id = found.pop("message"), found.pop("span")
    root = found.pop("frame")
    assert root.span_id.hex() == span_id
    told = attributes_of(root)
    assert (told["vigil.stream"], told["vigil.seq"]) == (message["stream"], message["seq"] or 0)
    assert told["vigil.outcome"] == "analysed"
    assert set(found) == {"decode", "letterbox", "wait", "infer", "post", "track", "publish"}
    began = [found[stage].start_time_unix_nano for stage in
             ("decode", "letterbox", "wait", "infer", "post", "track", "publish")]  # fmt: skip
    assert began == sorted(began)


def test_nothing_is_lost_or_counted_twice_when_a_worker_is_killed(watched: Watched) -> None:
    analysed = 'vigil_frames_total{stream="yard",outcome="analysed"}'
    restarts = 'vigil_process_restarts_total{kind="worker"}'
    restarts_before = watched.prometheus.value(restarts)
    (worker,) = watched.service.children()["worker"]
    worker.kill()
    watched.prometheus.fire("VigilRestarting")
    before = watched.prometheus.value(analysed)
    wait_for("its successor analyses", lambda: watched.prometheus.value(analysed) > before + 5)
    assert watched.prometheus.value(restarts) == restarts_before + 1
    for counter in ("frames_total", "detections_total", "events_total", "end_to_end_seconds_count",
                    "stage_seconds_bucket", "process_cpu_seconds_total"):  # fmt: skip
        assert not watched.prometheus.query(f"resets(vigil_{counter}[1m]) > 0"), f"vigil_{counter} went back"
    scraped = {
        family.name: family.samples for family in text_string_to_metric_families(watched.service.get("/metrics"))
    }
    for stream in ("gate", "yard"):
        told = {one.labels["outcome"]: one.value for one in scraped["vigil_frames"] if one.labels["stream"] == stream}
        (flying,) = [one.value for one in scraped["vigil_frames_in_flight"] if one.labels["stream"] == stream]
        assert told.pop("decoded") == sum(told.values()) + flying, "every frame is accounted for"


@contextmanager
def halted(process: psutil.Process) -> Iterator[None]:
    """It hangs. After ten seconds the service ends it."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


def test_a_detector_that_hangs_has_cameras_that_nobody_looks_at(watched: Watched) -> None:
    """Although frames go on to be left out as the cameras' `fps` wants it."""
    (detector,) = watched.service.children()["detector"]
    with halted(detector):
        watched.prometheus.fire("VigilNotAnalysed", "VigilFramesDropped")
    watched.prometheus.are_over("VigilNotAnalysed")


def test_a_worker_that_hangs_has_cameras_that_are_live_and_silent(watched: Watched) -> None:
    (worker,) = watched.service.children()["worker"]
    with halted(worker):
        watched.prometheus.fire("VigilStreamSilent")
    watched.prometheus.are_over("VigilStreamSilent")


def point(link: Path, at: Path) -> None:
    """At no time there is no link."""
    new = link.with_suffix(".new")
    new.symlink_to(at)
    new.replace(link)


def test_each_trouble_of_the_machine_and_of_others_fires_its_alert_while_it_lasts(watched: Watched) -> None:
    """All at once, as they have nothing to do with each other."""
    alerts = {
        "gpu": ("VigilGpuSaturated", "VigilGpuMemoryFull", "VigilGpuThrottled"),
        "slow": ("VigilDetectorSaturated", "VigilLatencyHigh"),
        "inference": ("VigilInferenceFailing",),
        "disk": ("VigilDiskLow",),
        "peer": ("VigilBridgeBehind",),
        "media": ("VigilMediaFailing",),
    }
    expected = [alert for each in alerts.values() for alert in each]
    watched.prometheus.are_over(*set(expected) - OF_LOAD)
    media = watched.service.state / "media"
    kept = media.readlink()
    point(media, watched.service.file)
    watched.peer.refuses = True
    for trouble in alerts:
        (watched.troubles / trouble).touch()
    watched.prometheus.fire(*expected)
    for trouble in alerts:
        (watched.troubles / trouble).unlink()
    watched.peer.refuses = False
    point(media, kept)
    watched.prometheus.are_over(*set(expected) - OF_LOAD)


def test_metrics_that_are_too_many_are_told(watched: Watched) -> None:
    """Apart, as nothing else is seen meanwhile."""
    (watched.troubles / "samples").touch()
    watched.prometheus.fire("VigilMetricsRefused")
    (watched.troubles / "samples").unlink()
    watched.prometheus.are_over("VigilMetricsRefused")


def test_an_event_that_nats_never_takes_is_lost_and_told(watched: Watched) -> None:
    outbox = Outbox.open(watched.service.state / "outbox.db", owner=0)
    subject = f"{watched.service.addresses['prefix']}.events.yard.track.started"
    outbox.append([Durable(subject, {}, bytes(2 << 20))])
    outbox.close()
    watched.prometheus.fire("VigilEventsLost")


def test_a_camera_that_dies_and_nats_that_hangs_fire_their_alerts(watched: Watched) -> None:
    watched.prometheus.are_over("VigilStreamDown", "VigilOutboxGrowing")
    (nats,) = watched.service.children()["nats"]
    watched.camera.kill()
    with halted(nats):
        watched.prometheus.fire("VigilStreamDown", "VigilOutboxGrowing")
        down = wait_for("the camera's alert", lambda: watched.prometheus.alerts().get("VigilStreamDown"))
        assert (down["stream"], down["severity"]) == ("gate", "critical")
        for who, asked in queries():
            if WRONG.search(asked):
                wait_for(f"an answer to {who}: {asked}", lambda asked=asked: watched.prometheus.query(asked))  # type: ignore[misc]
    watched.prometheus.are_over("VigilOutboxGrowing")


def test_nats_that_keeps_ending_is_told(watched: Watched) -> None:
    """It is started again, later each time."""
    watched.prometheus.are_over("VigilNatsTrouble")

    def told() -> bool:
        for nats in watched.service.children()["nats"]:
            with suppress(psutil.NoSuchProcess):
                nats.kill()
        return "VigilNatsTrouble" in watched.prometheus.alerts()

    wait_for("VigilNatsTrouble", told)


def test_a_service_that_is_gone_is_noticed(watched: Watched) -> None:
    """Also by who opens Grafana when it has been gone for so long that no installation can be chosen there."""
    watched.service.kill_all()
    watched.prometheus.fire("VigilNotScraped")
    for panel in DASHBOARDS["overview"]["panels"]:
        if panel["title"] in ("Alerts", "Away"):
            asked = panel["targets"][0]["expr"].replace("$instance", "()")
            wait_for(panel["title"], lambda asked=asked: watched.prometheus.value(asked) == len(BOXES))  # type: ignore[misc]
