"""The supervisor's side of tracing: frames' traces become spans, and go to a collector by OTLP.

Nothing waits for the collector: traces are kept within bounds while it does not answer, and lost beyond them, counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import structlog

from ingest.errors import VigilError
from ingest.redact import redact
from publish.headers import trace_of
from publish.tracing.config import TelemetryConfig
from publish.tracing.metrics import TracingMetrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = structlog.get_logger()

MOST_WAITING = 2048
MOST_AT_ONCE = 256
EXPORT_EVERY_S = 1.0
# The collector's time to take what it is sent; the service's end waits for no longer than this.
TIMEOUT_S = 2.0


class TracingError(VigilError):
    """Traces are wanted, and cannot be made."""

    code = "telemetry.not_installed"


class _LastWords(logging.Handler):
    """Keeps what the library last said of a failure: it tells nobody else why."""

    said = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.said = redact(record.getMessage())


class Exporter:
    """Lives in the supervisor's loop; `run` is a task there, and exports in a thread of its own."""

    def __init__(self, config: TelemetryConfig, site: str, version: str, metrics: TracingMetrics) -> None:
        """Loads OpenTelemetry.

        Raises:
            TracingError: it is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError:
            raise TracingError(
                "telemetry.otlp_endpoint is set, but OpenTelemetry is not installed: pip install 'vigil-video[otel]', "
                "or leave telemetry out"
            ) from None
        self._site = site
        self._metrics = metrics
        for outcome in ("exported", "dropped", "failed"):
            metrics.traces.labels(outcome)
        self._url = redact(config.traces_url or "")
        self._words = _LastWords()
        library = logging.getLogger("opentelemetry.exporter")
        library.propagate = False
        library.handlers = [self._words]
        headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        self._exporter = OTLPSpanExporter(endpoint=config.traces_url, headers=headers, timeout=TIMEOUT_S)
        self._spans = _Spans(site, version)
        self._waiting: deque[Sequence[Any]] = deque()
        self._thread = ThreadPoolExecutor(1, "traces")
        self._fails = False

    def add(self, traces: Iterable[Sequence[Any]]) -> None:
        """Takes ended traces, as a worker tells them (`publish/tracing/tracer.py`)."""
        for trace in traces:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                self._metrics.traces.labels("dropped").inc()
            self._waiting.append(trace)

    async def run(self) -> None:
        """Exports until cancelled."""
        while True:
            await asyncio.sleep(EXPORT_EVERY_S)
            while self._waiting:
                await self._export_some()

    async def close(self) -> None:
        """Exports what is left, if the collector takes it in time."""
        if self._waiting and not self._fails:
            await self._export_some()
        self._exporter.shutdown()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _export_some(self) -> None:
        taken = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
        exported = await asyncio.get_running_loop().run_in_executor(self._thread, self._export, taken)
        self._metrics.traces.labels("exported" if exported else "failed").inc(len(taken))
        if exported == self._fails:
            self._fails = not exported
            if exported:
                log.info("the collector takes traces again", collector=self._url)
            else:
                log.warning("traces are lost: the collector does not take them", collector=self._url,
                            code="telemetry.not_taken", error=self._words.said)  # fmt: skip

    def _export(self, traces: list[Sequence[Any]]) -> bool:
        """In the thread."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        try:
            spans = [span for trace in traces for span in self._spans.of(trace)]
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:  # whatever the library and its transport raise costs traces, and nothing else
            self._words.said = redact(repr(error))
            return False


class _Spans:
    """Makes spans of traces: one for the frame, whose ids its messages carry, and one below it for each stage."""

    def __init__(self, site: str, version: str) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._site = site
        self._scope = InstrumentationScope("vigil", version)
        self._resource = Resource.create({
            "service.name": "vigil", "service.namespace": site, "service.version": version,
            "service.instance.id": f"{socket.gethostname()}/{site}",
        })  # fmt: skip
        self._random = random.Random()

    def of(self, trace: Sequence[Any]) -> Iterable[ReadableSpan]:
        from opentelemetry.trace import Status, StatusCode

        stream, session, seq, outcome, attributes, stages = trace
        trace_id, frame_id = trace_of(self._site, stream, session, seq)
        about = {"vigil.stream": stream, "vigil.session": session, "vigil.seq": seq, "vigil.outcome": outcome}
        lost = Status(StatusCode.ERROR, outcome) if outcome.startswith("dropped_") else Status()
        # Stages have the times of the monotonic clock, which all processes of a machine share.
        epoch_ns = time.time_ns() - time.monotonic_ns()
        stages = [(name, epoch_ns + began_ns, epoch_ns + ended_ns) for name, began_ns, ended_ns in stages]
        began, ended = min(stage[1] for stage in stages), max(stage[2] for stage in stages)
        yield self._span("frame", trace_id, frame_id, None, began, ended, about | attributes, lost)
        for name, stage_began, stage_ended in stages:
            own_id = f"{self._random.getrandbits(64) or 1:016x}"
            yield self._span(
                name, trace_id, own_id, frame_id, stage_began, stage_ended, {"vigil.stream": stream}, Status()
            )

    def _span(
        self, name: str, trace_id: str, span_id: str, parent_id: str | None, began_ns: int, ended_ns: int,
        attributes: dict[str, Any], status: Any,
    ) -> ReadableSpan:  # fmt: skip
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, TraceFlags

        def context(own_id: str) -> SpanContext:
            return SpanContext(int(trace_id, 16), int(own_id, 16), is_remote=False, trace_flags=TraceFlags(1))

        return ReadableSpan(
            name, context(span_id), None if parent_id is None else context(parent_id), self._resource, attributes,
            status=status, start_time=began_ns, end_time=ended_ns,
            instrumentation_scope=self._scope,
        )  # fmt: skip
