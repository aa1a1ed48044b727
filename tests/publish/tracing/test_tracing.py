"""Traces of frames: which there are, how they reach a real collector, and that nothing suffers where there is none."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from structlog.testing import capture_logs

from publish import headers
from publish.tracing import tracer as tracer_module
from publish.tracing.config import TelemetryConfig
from publish.tracing.exporter import MOST_AT_ONCE, MOST_WAITING, TIMEOUT_S, Exporter, TracingError
from publish.tracing.metrics import TracingMetrics
from publish.tracing.tracer import FrameTrace, Told, Tracer
from tests.publish.tracing.collector import Collector, attributes_of, collecting

MS = 1_000_000
SESSION = 1795230433127


def counted(registry: CollectorRegistry, outcome: str) -> float:
    return registry.get_sample_value("vigil_traces_total", {"outcome": outcome}) or 0.0


def test_the_share_of_frames_that_are_traced_is_the_one_their_headers_tell() -> None:
    tracer = Tracer("hq", 0.1, TracingMetrics(CollectorRegistry()))
    traced = {seq for seq in range(5000) if tracer.begin("gate", SESSION, seq) is not None}
    flagged = {seq for seq in range(5000) if headers.traceparent("hq", "gate", SESSION, seq, 0.1).endswith("-01")}
    assert traced == flagged
    assert len(traced) == pytest.approx(500, rel=0.2)
    assert {seq for seq in range(5000) if headers.traceparent("hq", "gate", SESSION, seq).endswith("-01")} == set()
    every = Tracer("hq", 1.0, TracingMetrics(CollectorRegistry()))
    assert all(every.begin("gate", SESSION, seq) is not None for seq in range(100))


def test_traces_that_nobody_fetches_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracer_module, "MOST_WAITING", 3)
    registry = CollectorRegistry()
    tracer = Tracer("hq", 1.0, TracingMetrics(registry))
    for seq in range(5):
        tracer.end(FrameTrace("gate", SESSION, seq), "analysed")
    assert [told[2] for told in tracer.fetch()] == [0, 1, 2]
    assert counted(registry, "dropped") == 2
    assert tracer.fetch() == []


def test_nothing_of_opentelemetry_is_loaded_without_a_collector() -> None:
    code = (
        "import sys, publish.publisher, publish.tracing.exporter, publish.tracing.tracer; "
        "sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [("http://otel:4318", "http://otel:4318/v1/traces"), ("http://otel:4318/", "http://otel:4318/v1/traces"),
     ("https://otel/tenant/v1/traces", "https://otel/tenant/v1/traces"), (None, None)],
)  # fmt: skip
def test_a_collector_is_named_by_its_address_or_by_the_whole_url(endpoint: str | None, url: str | None) -> None:
    assert TelemetryConfig(otlp_endpoint=endpoint).traces_url == url


def test_without_a_collector_no_frame_is_traced() -> None:
    assert TelemetryConfig(sample=0.5).share == 0
    assert TelemetryConfig(sample=0.5, otlp_endpoint="http://otel:4318").share == 0.5


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TracingError, match=r"vigil-video\[otel\]"):
        Exporter(TelemetryConfig(otlp_endpoint="http://otel:4318"), "hq", "1", TracingMetrics(CollectorRegistry()))


# -- with a collector


def frame(seq: int, outcome: str = "analysed") -> Told:
    now_ns = time.monotonic_ns()
    stages = [("decode", now_ns - 30 * MS, now_ns - 25 * MS), ("infer", now_ns - 20 * MS, now_ns - 5 * MS),
              ("publish", now_ns - 2 * MS, now_ns - MS)]  # fmt: skip
    return "gate", SESSION, seq, outcome, {"vigil.objects": 3}, stages


def exporting(
    config: TelemetryConfig, play: Callable[[Exporter], Awaitable[None]], registry: CollectorRegistry | None = None
) -> None:
    async def run() -> None:
        exporter = Exporter(config, "hq", "1.2.3", TracingMetrics(registry or CollectorRegistry()))
        running = asyncio.create_task(exporter.run())
        await play(exporter)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await exporter.close()

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_frame_is_one_trace_with_a_span_for_each_stage_below_the_one_its_messages_name() -> None:
    with collecting() as collector:
        config = TelemetryConfig(otlp_endpoint=collector.url, headers={"Authorization": SecretStr("Bearer s3cret")})

        async def play(exporter: Exporter) -> None:
            exporter.add([frame(7), frame(8, "dropped_stale")])
            await until(lambda: len(collector.spans) >= 8)

        exporting(config, play)
        assert collector.paths == ["/v1/traces"]
        assert collector.headers["authorization"] == "Bearer s3cret"
        spans = [span for span, _ in collector.spans]
        (about,) = {tuple(sorted(about.items())) for _, about in collector.spans}
        assert {("service.name", "vigil"), ("service.namespace", "hq"), ("service.version", "1.2.3")} <= set(about)
        _, trace_id, frame_id, _ = headers.traceparent("hq", "gate", SESSION, 7).split("-")
        ours = {span.name: span for span in spans if span.trace_id.hex() == trace_id}
        assert set(ours) == {"frame", "decode", "infer", "publish"} and len(spans) == 8
        root = ours.pop("frame")
        assert (root.span_id.hex(), root.parent_span_id) == (frame_id, b"")
        assert attributes_of(root) == {
            "vigil.stream": "gate", "vigil.session": SESSION, "vigil.seq": 7, "vigil.outcome": "analysed",
            "vigil.objects": 3,
        }  # fmt: skip
        assert {span.parent_span_id for span in ours.values()} == {root.span_id}
        assert len({span.span_id for span in spans}) == 8
        assert ours["infer"].end_time_unix_nano - ours["infer"].start_time_unix_nano == 15 * MS
        assert root.start_time_unix_nano == ours["decode"].start_time_unix_nano
        assert root.end_time_unix_nano == ours["publish"].end_time_unix_nano
        assert abs(time.time_ns() - root.end_time_unix_nano) < 60_000 * MS
        lost = next(span for span in spans if span.name == "frame" and span is not root)
        assert (lost.status.code, lost.status.message) == (2, "dropped_stale")


def test_a_collector_that_refuses_is_told_of_once_and_again_when_it_is_back() -> None:
    registry = CollectorRegistry()
    with collecting() as collector, capture_logs() as logs:
        collector.status = 401

        async def play(exporter: Exporter) -> None:
            for expected in (1, 2):
                exporter.add([frame(expected)])
                await until(lambda expected=expected: counted(registry, "failed") == expected)
            collector.status = 200
            exporter.add([frame(3)])
            await until(lambda: counted(registry, "exported") == 1)

        exporting(TelemetryConfig(otlp_endpoint=collector.url), play, registry)
    told = [(entry["log_level"], entry.get("code")) for entry in logs]
    assert told == [("warning", "telemetry.not_taken"), ("info", None)]
    assert "401" in logs[0]["error"]


def test_an_absent_collector_harms_nothing_and_shows_no_password() -> None:
    registry = CollectorRegistry()
    gone = Collector()
    gone.close()
    url = gone.url.replace("://", "://vigil:s3cret@")
    with capture_logs() as logs:

        async def play(exporter: Exporter) -> None:
            began = time.monotonic()
            exporter.add(frame(seq) for seq in range(MOST_WAITING + 10))
            assert counted(registry, "dropped") == 10
            await until(lambda: counted(registry, "failed") >= MOST_AT_ONCE)
            assert time.monotonic() - began < 5

        exporting(TelemetryConfig(otlp_endpoint=url), play, registry)
    assert [entry["code"] for entry in logs] == ["telemetry.not_taken"]
    assert logs[0]["error"] and "s3cret" not in str(logs)


def test_a_collector_that_never_answers_holds_up_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def play(exporter: Exporter) -> None:
            exporter.add([frame(1)])
            await asyncio.sleep(0)

        began = time.monotonic()
        exporting(TelemetryConfig(otlp_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}"), play)
        assert time.monotonic() - began < 2 * TIMEOUT_S
