"""The HTTP side: health, metrics, the state of the streams, and what `publish/whip.py` adds."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from publish.admin import StreamAdmin
from publish.config import HttpConfig
from publish.metrics import MergedMetrics
from publish.problem import bears, problem
from publish.streams_api import add_streams_api
from publish.whip import CORS, WHIP_PATH, Publishing, WhipCors, whip_routes


class View(Publishing, Protocol):
    """What the HTTP side shows."""

    metrics: MergedMetrics

    @property
    def changes(self) -> StreamAdmin: ...

    def ready(self) -> dict[str, bool]: ...


def create_app(view: View, config: HttpConfig) -> FastAPI:
    app = FastAPI(title="Vigil", docs_url="/docs", redoc_url=None)
    registry = CollectorRegistry()
    registry.register(view.metrics)
    token = config.token.get_secret_value() if config.token else None

    @app.middleware("http")
    async def authorise(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        decided_here = not request.url.path.startswith(("/health/", WHIP_PATH))
        if token is not None and decided_here and not bears(request, token):
            return problem(401, "http.unauthorized", "send `Authorization: Bearer <token>`")
        return await go_on(request)

    @app.get("/health/live", summary="The supervisor answers")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready", summary="Model loaded, workers running, NATS connected")
    async def ready() -> JSONResponse:
        parts = view.ready()
        good = all(parts.values())
        return JSONResponse({"status": "ready" if good else "not ready", **parts}, 200 if good else 503)

    @app.get("/metrics", summary="Prometheus metrics of all processes")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    add_streams_api(app, view.changes)
    app.include_router(whip_routes(view, token))
    if config.allow_origins:
        app.add_middleware(WhipCors, allow_origins=config.allow_origins, **CORS)
    return app


class _Server(uvicorn.Server):
    """Signals are the supervisor's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(view: View, config: HttpConfig, listening: socket.socket) -> None:
    """Serves on a bound socket until cancelled."""
    server = _Server(
        uvicorn.Config(
            create_app(view, config), log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
    )
    await server.serve(sockets=[listening])
