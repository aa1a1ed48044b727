"""`/api/v1/live`: states, events and figures as they come, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from publish.live import Audience, FullError, Listener, Told
from publish.problem import problem, problems

# Proxies and browsers let go of what is silent for long.
BEAT_S = 10.0
RETRY_MS = 2000
RETRY_AFTER_S = 10


class Broadcasting(Protocol):
    audience: Audience

    def present(self) -> list[Told]:
        """How things stand now, for who begins to listen."""
        ...


def add_live_api(app: FastAPI, service: Broadcasting) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Events"])
    stream: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events"},
        **problems(503),
    }

    @router.get("/live", summary="What happens, as it happens", responses=stream, response_class=StreamingResponse)
    async def live() -> Response:
        """`status`: a stream's state, first of all streams as they are, then whenever one changes. `event`: an event,
        as on NATS. `system`: as /api/v1/system, every second. Who is too slow to take what comes is cut off."""
        try:
            listener = service.audience.join()
        except FullError as error:
            return problem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
        return _Live(service, listener)

    app.include_router(router)


class _Live(StreamingResponse):
    """Whatever ends it, the listener leaves."""

    def __init__(self, service: Broadcasting, listener: Listener) -> None:
        headers = {"X-Accel-Buffering": "no"}
        super().__init__(self._written(), media_type="text/event-stream", headers=headers)
        self._service = service
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.audience.leave(self._listener)

    async def _written(self) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RETRY_MS
        for told in self._service.present():
            yield _event(told)
        async for message in self._listener.messages(BEAT_S):
            yield b": still here\n\n" if message is None else _event(message)


def _event(told: Told) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (told.kind.encode(), told.body.replace(b"\n", b"\ndata: "))
