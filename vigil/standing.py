"""What state a stream is in, and whoever is told: the log, metrics, the supervisor and NATS."""

from __future__ import annotations

import time

import structlog

from ingest.clock import NS
from ingest.errors import Reason
from ingest.pulse import Pulse
from ingest.reconnect import StreamState
from publish.schema.composer import Composer
from vigil.reader import StateChange
from vigil.services import Services

log = structlog.get_logger()


class Standing:
    """Of one stream, in the worker's loop."""

    def __init__(self, stream: str, services: Services, connect_timeout_s: float | None) -> None:
        """`connect_timeout_s`: after so long it is told that it is not connected; None: it may take any time."""
        self._stream = stream
        self._services = services
        self._connect_timeout_s = connect_timeout_s
        self._told, self._told_ns = StateChange(StreamState.CONNECTING), time.monotonic_ns()
        self._live = self._told

    def found(self, pulse: Pulse | None, now_ns: int) -> StateChange | None:
        """What has become of it without its reader saying so, which may be waiting for the camera and cannot: the
        session stalls, or does no longer. `pulse` is the session's."""
        if self._told.state is StreamState.CONNECTING and self._told.reason is None:
            waited_s = (now_ns - self._told_ns) / NS
            if self._connect_timeout_s is None or waited_s <= self._connect_timeout_s:
                return None
            detail = f"not connected after {waited_s:.1f} s"
            return StateChange(StreamState.CONNECTING, reason=Reason.TIMEOUT, detail=detail)
        if pulse is None or self._told.state not in (StreamState.LIVE, StreamState.STALLED):
            return None
        stall = pulse.stall(now_ns)
        if stall and self._told.state is StreamState.LIVE:
            return StateChange(StreamState.STALLED, self._live.session, Reason.STALLED, stall)
        return self._live if not stall and self._told.state is StreamState.STALLED else None

    def becomes(self, change: StateChange, composer: Composer) -> None:
        """Tells everybody."""
        self._told, self._told_ns = change, time.monotonic_ns()
        if change.state is StreamState.LIVE:
            self._live = change
        metrics = self._services.metrics.ingest
        for state in StreamState:
            metrics.state.labels(self._stream, state.value).set(state is change.state)
        details = {
            "session": change.session,
            "reason": change.reason.value if change.reason else None,
            "detail": change.detail,
            "retry_in": change.retry_in,
            "description": change.description,
        }
        told = {key: value for key, value in details.items() if value is not None}
        level = log.warning if change.reason else log.info
        level(f"stream {change.state.value}", stream=self._stream, **told)
        self._services.report(self._stream, change.state.value, told)
        self._services.publisher.status(composer.status(self._stream, change.state.value, time.time_ns(), **told))
