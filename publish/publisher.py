"""What streams publish through: frame results go to NATS at once or never, events and states by way of the outbox.

Nothing of it makes a stream wait: neither NATS nor the disk.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from publish import headers
from publish.connection import Connection
from publish.frames import FrameSender
from publish.interrupted import begins, ends, renews
from publish.journal import Journal
from publish.metrics import OutboxMetrics, PublishMetrics
from publish.outbox import Durable, Outbox
from publish.schema import CountEvent, FrameResult, StreamStatus, TrackEvent
from publish.schema.wire import CONTENT_TYPES, JSON, Format, encode
from publish.subjects import Subjects
from publish.trouble import Code, Trouble, Troubles

POLL_S = 0.02


class Publisher:
    """A process's publisher. Runs a thread that writes to the outbox and, with a connection, a task that sends frame
    results in the loop in which it is started."""

    def __init__(
        self, subjects: Subjects, outbox: Outbox, metrics: PublishMetrics, outbox_metrics: OutboxMetrics,
        written: Callable[[], object], troubles: Troubles, connection: Connection | None = None,
        frames_format: Format = "json", traced: float = 0.0,
    ) -> None:  # fmt: skip
        """`written` is called in the loop when something new is in the outbox, and `troubles` hear there when it cannot
        be written; `connection` is for frame results; `traced` is the share of frames that are."""
        loop = asyncio.get_running_loop()
        self._subjects = subjects
        self._metrics = metrics
        self._connection = connection
        self._traced = traced
        self._frames_type = CONTENT_TYPES[frames_format]

        def fails(trouble: Trouble | None) -> None:
            if trouble is None:
                troubles.over(Code.OUTBOX_DISK_FULL, Code.OUTBOX_UNWRITABLE)
            else:
                troubles.begin(trouble)

        call = loop.call_soon_threadsafe
        self._journal = Journal(outbox, outbox_metrics, lambda: call(written), lambda trouble: call(fails, trouble))
        self._frames = FrameSender(connection, metrics) if connection is not None else None
        self._task = asyncio.create_task(self._frames.run(), name="frame results") if self._frames else None
        self._thread = threading.Thread(target=self._journal.run, name="journal", daemon=True)
        self._thread.start()

    def frame_result(self, message: FrameResult) -> None:
        assert self._frames is not None, "only who has a connection has frame results"
        kind = self._frames_type
        told = headers.of_frame(message, kind, self._traced)
        self._frames.add(self._subjects.frames(message.stream), encode(message, kind), told)

    def event(self, message: TrackEvent | CountEvent) -> None:
        """Promises the event: once it is on disk, a moment later, nothing can lose it until it is delivered."""
        self._journal.add(Durable(
            self._subjects.event(message.stream, message.type.value), headers.of_event(message, self._traced),
            encode(message, JSON), begins=begins(message), renews=renews(message), ends=ends(message),
        ))  # fmt: skip
        self._metrics.events.labels(message.stream, message.type.value).inc()

    def status(self, message: StreamStatus) -> None:
        subject = self._subjects.status(message.stream)
        self._journal.add(Durable(subject, headers.of_status(message), encode(message, JSON), is_event=False))

    async def flush(self, timeout_s: float) -> bool:
        """Returns once all that was promised is on disk, or after that time; whether it is."""
        return await asyncio.to_thread(self._journal.flush, timeout_s)

    @property
    def failure(self) -> str | None:
        """What does not run any more, and should until `close`; None while all is well."""
        if not self._thread.is_alive():
            return "nothing is written to the outbox"
        if self._task is not None and self._task.done():
            return "no frame results are sent"
        return None

    async def close(self, timeout_s: float) -> int:
        """Lets what waits leave; how many events could not be written within that time."""
        until = time.monotonic() + timeout_s
        lost = await asyncio.to_thread(self._journal.close, timeout_s)
        if self._task is not None and self._frames is not None and self._connection is not None:
            while self._frames.pending and self._connection.connected and time.monotonic() < until:
                await asyncio.sleep(POLL_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return lost
